import type { Command } from 'commander'
import { checkTlsFiles, configSchema, effectiveSettings, loadConfig } from '../app/index.ts'
import { systemClock, VspcError } from '../base/index.ts'
import { printData, printNote } from './output.ts'

const HELP = `
Examples:
  vspc config check /etc/vspc.yaml
  vspc config schema > vspc.schema.json
`

const CHECK_HELP = `
Everything wrong is reported at once, as FILE:LINE:COLUMN; the exit code is 2 then. The certificate and key of
listeners are tried too. Nothing is opened or connected. Without FILE it is that of VSPC_CONFIG.

Examples:
  vspc config check /etc/vspc.yaml
  vspc config check --json /etc/vspc.yaml | jq .limits     what would be in force, defaults included
`

const SCHEMA_HELP = `
Editors check and complete the file with it: in VS Code (YAML extension) or any editor with yaml-language-server,
begin the file with  # yaml-language-server: $schema=./vspc.schema.json

Example:
  vspc config schema > vspc.schema.json
`

export function registerConfig(program: Command): void {
  const config = program
    .command('config')
    .description('Check or describe the configuration file')
    .addHelpText('after', HELP)
  config
    .command('check')
    .description('Check a configuration file')
    .argument('[file]', 'the file; default VSPC_CONFIG')
    .option('--json', 'print the settings that would be in force')
    .addHelpText('after', CHECK_HELP)
    .action(check)
  config
    .command('schema')
    .description('Print the JSON Schema of the configuration file')
    .addHelpText('after', SCHEMA_HELP)
    .action(() => printData(`${JSON.stringify(configSchema(), null, 2)}\n`))
}

async function check(file: string | undefined, flags: { json?: true }): Promise<void> {
  const config = loadConfig({ env: process.env, flags: {}, ...(file === undefined ? {} : { file }) })
  if (config.file === null) {
    throw new VspcError('VSPC_USAGE', 'there is nothing to check; name a file, or set VSPC_CONFIG')
  }
  for (const warning of await checkTlsFiles(config, systemClock.wall())) printNote(`warning: ${warning}`)
  printData(flags.json === true ? `${JSON.stringify(effectiveSettings(config), null, 2)}\n` : `${config.file}: ok\n`)
}
