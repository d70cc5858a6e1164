/** The section guestinfo of the server's configuration. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Config, configSchema, effectiveSettings, loadConfig } from '../../src/app/index.ts'
import { planReload } from '../../src/app/reload.ts'
import { VspcError } from '../../src/base/index.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vspc-guestinfo-config-'))
  writeFileSync(join(directory, 'pw'), 'hunter2')
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const VSPHERE = 'vsphere: { url: https://vc/sdk, user: u, passwordFile: pw }\n'

function load(text: string, env: Record<string, string> = {}): Config {
  writeFileSync(join(directory, 'vspc.yaml'), text)
  return loadConfig({ file: 'vspc.yaml', env, flags: {}, directory })
}

function refusal(text: string): string {
  try {
    load(text)
  } catch (error) {
    if (error instanceof VspcError) return error.message
    throw error
  }
  return 'accepted'
}

test.each(['*', 'folder:/DC/vm/prod', 'pool:/DC/host/cluster/Resources/prod'])('vms: %s', (vms) => {
  const config = load(`${VSPHERE}guestinfo: { vms: '${vms}' }\n`)
  expect(config).toMatchObject({ guestinfo: { vms }, track: null, vsphere: { user: 'u' } })
  const shown = effectiveSettings(config)
  expect(shown.guestinfo).toEqual({ vms })
  expect(effectiveSettings(load(stringify(shown)))).toEqual(shown)
})

test('off unless it is asked for; the environment counts where it is', () => {
  expect(load(VSPHERE).guestinfo).toBeNull()
  expect(effectiveSettings(load(VSPHERE))).not.toHaveProperty('guestinfo')
  const env = { VSPC_VSPHERE_USER: 'variable' }
  expect(load(`${VSPHERE}guestinfo: { vms: '*' }\n`, env).vsphere?.user).toBe('variable')
  expect(load(VSPHERE, env).vsphere?.user).toBe('u')
})

const mistakes: [what: string, text: string, message: RegExp][] = [
  ['no vSphere', "guestinfo: { vms: '*' }\n", /^vspc\.yaml:1:1: guestinfo needs vsphere\.url, which is not given; /],
  [
    'no password',
    "vsphere: { url: https://vc/sdk, user: u }\nguestinfo: { vms: '*' }\n",
    /2:1: guestinfo needs vsphere\.passwordFile/,
  ],
  ['nothing in it', `${VSPHERE}guestinfo: {}\n`, /2:1: guestinfo\.vms is missing; accepted is "\*" for all/],
  ['no section', `${VSPHERE}guestinfo: on\n`, /2:12: guestinfo is the text "on"; accepted is a section/],
  ['a pattern', `${VSPHERE}guestinfo: { vms: 'web*' }\n`, /2:19: guestinfo\.vms "web\*" is neither .*accepted is "\*"/],
  ['one VM', `${VSPHERE}guestinfo: { vms: 'vm:web1' }\n`, /2:19: guestinfo\.vms "vm:web1" is neither/],
  ['a slip', `${VSPHERE}guestinfo: { vms: 'foldr:/a' }\n`, /2:19: VMs "foldr:\/a": .*did you mean folder:\?/],
  ['no path', `${VSPHERE}guestinfo: { vms: 'folder:' }\n`, /2:19: VMs "folder:": there is nothing to look for/],
  ['nothing', `${VSPHERE}guestinfo: { vms: '' }\n`, /2:19: guestinfo\.vms "" is neither/],
  ['a list', `${VSPHERE}guestinfo: { vms: ['*'] }\n`, /2:19: guestinfo\.vms is a list; accepted is "\*"/],
  [
    'an unknown name',
    `${VSPHERE}guestinfo: { vm: '*' }\n`,
    /2:14: "guestinfo\.vm" is not a setting; .*did you mean vms\?/,
  ],
]
test.each(mistakes)('%s: line, column, and what is accepted', (_what, text, message) => {
  expect(refusal(text)).toMatch(message)
})

test('a change needs a restart; the schema for editors knows it', () => {
  const now = load(`${VSPHERE}guestinfo: { vms: '*' }\n`)
  expect(planReload(now, load(`${VSPHERE}guestinfo: { vms: 'folder:/a' }\n`)).needRestart).toEqual(['guestinfo'])
  expect(planReload(now, load(VSPHERE)).needRestart).toEqual(['guestinfo'])
  const schema = JSON.parse(JSON.stringify(configSchema()))
  expect(schema.properties.guestinfo).toMatchObject({ required: ['vms'], additionalProperties: false })
})
