/** The section `logFiles`: a plain file for each port, for other programs. */
import { VspcError } from '../../base/index.ts'
import { NAME_ACCEPTS, NameTemplate, NOVA_TEMPLATE } from './names.ts'

/** As it stands in a file. */
export interface LogFilesSettings {
  dir?: string
  layout?: 'nova' | 'named'
  name?: string
}

export interface LogFilesConfig {
  readonly dir: string
  readonly layout: 'nova' | 'named'
  readonly template: NameTemplate
}

export const LOG_FILES_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description:
    'The end of the output of each port ("limits.logFileBytes" to twice that) in a plain file of its own, for programs that read ' +
    'such files; see docs/history.md. Needs history on disk. Default: none.',
  properties: {
    dir: {
      type: 'string',
      description: 'Directory of the files. Made if it is not there.',
      accepts: 'the path of a directory',
    },
    layout: {
      type: 'string',
      enum: ['nova', 'named'],
      default: 'nova',
      description: "`nova`: the VM's UUID without dashes, where OpenStack Nova looks for it. `named`: as `name` says.",
    },
    name: {
      type: 'string',
      description: `How files are called below \`dir\`, with \`layout: named\`: ${NAME_ACCEPTS}.`,
      accepts: NAME_ACCEPTS,
    },
  },
} as const

/** @param resolve makes a path absolute. @throws VspcError VSPC_CONFIG_INVALID. */
export function readLogFiles(
  { dir, layout = 'nova', name }: LogFilesSettings,
  resolve: (path: string) => string,
): LogFilesConfig {
  if (dir === undefined || dir.trim() === '' || dir.includes('\0')) {
    throw new VspcError('VSPC_CONFIG_INVALID', 'logFiles.dir is missing; accepted is the path of a directory')
  }
  if (layout === 'nova') {
    if (name === undefined) return { dir: resolve(dir), layout, template: new NameTemplate(NOVA_TEMPLATE, true) }
    throw new VspcError('VSPC_CONFIG_INVALID', 'logFiles.name says nothing with "layout: nova"; write "layout: named"')
  }
  if (name === undefined) {
    throw new VspcError('VSPC_CONFIG_INVALID', `logFiles.name is missing; accepted is ${NAME_ACCEPTS}`)
  }
  return { dir: resolve(dir), layout, template: new NameTemplate(name) }
}

/** As they would stand in a file. */
export function logFilesSettings({ dir, layout, template }: LogFilesConfig): LogFilesSettings {
  return { dir, layout, ...(layout === 'named' && { name: template.text }) }
}
