/** The sections vsphere and track of the server's configuration. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Config, ConfigError, configSchema, effectiveSettings, loadConfig, start } from '../../src/app/index.ts'
import { planReload } from '../../src/app/reload.ts'
import { VspcError } from '../../src/base/index.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vspc-track-config-'))
  writeFileSync(join(directory, 'pw'), 'hunter2')
  writeFileSync(join(directory, 'ca.pem'), 'x')
  writeFileSync(join(directory, 'vsphere-password'), 'hunter3')
  writeFileSync(join(directory, 'relays.yaml'), 'esx1: 192.0.2.1\nesx2: 5\n')
  writeFileSync(join(directory, 'good.yaml'), 'esx1: 192.0.2.1\n"2001:db8::1": "[2001:db8::2]:13371"\n')
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const VSPHERE = 'vsphere: { url: https://vc/sdk, user: u, passwordFile: pw }\n'
const TRACK = "track: { vms: ['web*'], proxyUri: 'telnet://{host}:13370' }\n"
const PIN = 'ab'.repeat(32)

function load(text: string, env: Record<string, string> = {}): Config {
  writeFileSync(join(directory, 'vspc.yaml'), text)
  return loadConfig({ file: 'vspc.yaml', env, flags: {}, directory })
}

function refusal(text: string, env: Record<string, string> = {}): string {
  try {
    load(text, env)
  } catch (error) {
    if (error instanceof VspcError) return error.message
    throw error
  }
  return 'accepted'
}

test('both sections, whole', () => {
  const config = load(`
vsphere:
  url: https://vc.example:8443/sdk
  user: vspc@vsphere.local
  passwordFile: pw
  pin: sha256:${PIN.toUpperCase()}
  dial: vsock://2:8443
track:
  appliance: /DC0/vm/vspc1
  vms: ['web*', folder:/DC0/vm/prod, 'attribute:console=*']
  proxyUri: telnets://{relay}:13370
  serviceUri: vspc*
  ports: [1, Serial port 2]
  relays: { esx1: 192.0.2.1, esx2: '192.0.2.2:13380' }
  nextHops: ['tls://esx1:13372?cert=a.crt&key=a.key#appliance=tls://{host}:13371?ca=b.pem']
`)
  expect(config.vsphere).toMatchObject({
    url: 'https://vc.example:8443/sdk',
    passwordFile: join(directory, 'pw'),
    ca: null,
    pin: PIN,
    dial: { scheme: 'vsock', cid: 2 },
  })
  expect(config.track).toMatchObject({ appliance: '/DC0/vm/vspc1', ports: [1, 'Serial port 2'], directory })
  const shown = effectiveSettings(config)
  expect(shown.track).toEqual({
    appliance: '/DC0/vm/vspc1',
    vms: ['web*', 'folder:/DC0/vm/prod', 'attribute:console=*'],
    proxyUri: 'telnets://{relay}:13370',
    serviceUri: 'vspc*',
    ports: [1, 'Serial port 2'],
    relays: { esx1: '192.0.2.1', esx2: '192.0.2.2:13380' },
    nextHops: ['tls://esx1:13372?cert=a.crt&key=a.key#appliance=tls://{host}:13371?ca=b.pem'],
  })
  expect(effectiveSettings(load(stringify(shown)))).toEqual(shown)
  expect(JSON.stringify([config, shown])).not.toContain('hunter')
})

test('a table of relays may be a file; the environment counts more than the file, and only where it is needed', () => {
  const text = `${VSPHERE.replace('}', `, pin: 'sha256:${PIN}' }`)}${TRACK.replace('}\n', ', relays: good.yaml }\n')}`
  const env = { VSPC_VSPHERE_USER: 'variable', VSPC_VSPHERE_CA_FILE: 'ca.pem', VSPC_VSPHERE_URL: '' }
  const config = load(text, env)
  expect(config.track?.relays).toEqual({ esx1: '192.0.2.1', '2001:db8::1': '[2001:db8::2]:13371' })
  // A CA means no pin of a layer below.
  expect(config.vsphere).toMatchObject({
    url: 'https://vc/sdk',
    user: 'variable',
    ca: join(directory, 'ca.pem'),
    pin: null,
  })
  expect(load(VSPHERE, { VSPC_VSPHERE_URL: 'nonsense' }).vsphere).toMatchObject({ url: 'https://vc/sdk' })
  expect(refusal(TRACK, { VSPC_VSPHERE_URL: 'nonsense' })).toMatch(/^VSPC_VSPHERE_URL: cannot use the URL/)
  const all = { VSPC_VSPHERE_URL: 'https://vc/sdk', VSPC_VSPHERE_USER: 'u', CREDENTIALS_DIRECTORY: directory }
  expect(load(TRACK, all).vsphere?.passwordFile).toBe(join(directory, 'vsphere-password'))
})

test('a section vsphere that others use, and is not complete, is no mistake without a section track', () => {
  expect(load('vsphere: { url: https://vc/sdk }\n')).toMatchObject({ vsphere: null, track: null })
  expect(effectiveSettings(load(''))).not.toHaveProperty('track')
})

describe('mistakes have line and column, and say what is accepted', () => {
  const both = (track: string) => `${VSPHERE}track:\n${track}`
  const cases: [what: string, text: string, message: RegExp][] = [
    ['no vSphere', TRACK, /^vspc\.yaml:1:1: track needs vsphere\.url, which is not given; accepted .*VSPC_VSPHERE_URL/],
    ['no user', `vsphere: { url: https://vc/sdk }\n${TRACK}`, /^vspc\.yaml:2:1: track needs vsphere\.user/],
    ['no password', `vsphere: { url: https://vc/sdk, user: u }\n${TRACK}`, /2:1: track needs vsphere\.passwordFile/],
    [
      'an unknown name',
      `${VSPHERE.replace('user', 'usr')}${TRACK}`,
      /1:33: "vsphere\.usr" is not a setting; accepted are url, user.*did you mean user\?/,
    ],
    [
      'http',
      'vsphere:\n  url: http://vc/sdk\n',
      /^vspc\.yaml:2:8: cannot use the URL of the vSphere API: it begins with http:/,
    ],
    ['no such file', 'vsphere:\n  passwordFile: none\n', /^vspc\.yaml:2:17: none: ENOENT/],
    ['a pin', 'vsphere: { pin: sha1:ab }', /1:17: "sha1:ab" is no fingerprint; accepted is sha256:/],
    ['an endpoint', 'vsphere: { dial: tpc://h:1 }', /1:18: endpoint "tpc:\/\/h:1": scheme "tpc" is not known/],
    ['a number for text', 'vsphere: { user: 5 }', /1:18: vsphere\.user is 5; accepted is the name of a user/],
    ['not a section', 'track: yes', /1:8: track is the text "yes"; accepted is a section/],
    ['nothing in it', 'track:\n', /1:1: track has no value/],
    [
      'no VMs',
      both("  proxyUri: 'telnet://{ip}:1'\n"),
      /^vspc\.yaml:2:1: track\.vms is missing; accepted is a list of VMs, such as/,
    ],
    ['an empty list', both("  proxyUri: 'telnet://{ip}:1'\n  vms: []\n"), /^vspc\.yaml:4:8: track\.vms is empty/],
    ['no proxyUri', both("  vms: ['*']\n"), /^vspc\.yaml:2:1: track\.proxyUri is missing; accepted is a template/],
    [
      'a term',
      both("  vms: ['*', 'foldr:/a']\n  proxyUri: 'telnet://{ip}:1'\n"),
      /^vspc\.yaml:3:14: VMs "foldr:\/a": .*did you mean folder:\?/,
    ],
    [
      'a placeholder',
      both("  vms: ['*']\n  proxyUri: 'telnet://{hots}:1'\n"),
      /^vspc\.yaml:4:13: .*did you mean \{host\}\?/,
    ],
    ['a scheme', both("  vms: ['*']\n  proxyUri: 'tcp://{host}:1'\n"), /4:13: .*neither telnet nor telnets/],
    [
      'a port',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  ports: [1, 0]\n`),
      /5:14: track\.ports\[1\] is 0; accepted is a number from 1/,
    ],
    [
      'a relay',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  relays:\n    esx1: [a]\n`),
      /6:11: track\.relays\.esx1 is a list; accepted is the address/,
    ],
    [
      'relays',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  relays: [a]\n`),
      /5:11: track\.relays is a list; accepted is a section of lines HOST/,
    ],
    [
      'its file',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  relays: relays.yaml\n`),
      /5:11: .*relays\.yaml:2:7: there is no address/,
    ],
    [
      'no file',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  relays: none.yaml\n`),
      /5:11: .*none\.yaml: there is no such file/,
    ],
    [
      'a next hop',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  nextHops:\n    - unix:///a.sock\n`),
      /6:7: track\.nextHops "unix:\/\/\/a\.sock": write CONTROL-URI#NAME=ENDPOINT/,
    ],
    [
      'its endpoint',
      both(`  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  nextHops: ['unix:///a.sock#a=tpc://{ip}:1']\n`),
      /5:14: .*tpc/,
    ],
    [
      'a next hop twice',
      both(
        `  vms: ['*']\n  proxyUri: 'telnet://{ip}:1'\n  nextHops: ['unix:///a#a=tcp://{ip}:1', 'unix:///a#a=tcp://{ip}:2']\n`,
      ),
      /5:42: unix:\/\/\/a#a is given twice/,
    ],
    [
      'not a list, told once',
      both("  vms: 'web*'\n  proxyUri: 'telnet://{ip}:1'\n"),
      /^vspc\.yaml:3:8: track\.vms is the text "web\*"; accepted is a list of VMs, such as \S+ \S+$/,
    ],
    ['an unknown setting', both("  vm: ['*']\n"), /3:3: "track\.vm" is not a setting; .*did you mean vms\?/],
  ]
  test.each(cases)('%s', (_what, text, message) => {
    expect(refusal(text)).toMatch(message)
  })

  test('all at once; a password in a URL is not repeated', () => {
    const text = 'vsphere:\n  url: https://u:hunter2@vc/sdk\n  pin: x\ntrack:\n  vms: [5, "a:b"]\n  proxyUri: x\n'
    try {
      load(text)
      expect.unreachable()
    } catch (error) {
      const { problems, message } = error as ConfigError
      expect(error).toBeInstanceOf(ConfigError)
      expect(problems.map(({ line, column }) => `${line}:${column}`)).toEqual(['2:8', '3:8', '5:9', '5:12', '6:13'])
      expect(message).not.toContain('hunter2')
    }
  })
})

test('a change of either needs a restart', () => {
  const now = load(VSPHERE + TRACK)
  expect(planReload(now, load(VSPHERE.replace('u,', 'v,') + TRACK)).needRestart).toEqual(['vsphere'])
  expect(planReload(now, load(VSPHERE + TRACK.replace('web', 'db'))).needRestart).toEqual(['track'])
  expect(planReload(now, load(VSPHERE + TRACK))).toEqual({ changed: [], needRestart: [] })
})

test('the schema for editors knows them, and says what is required', () => {
  const schema = JSON.parse(JSON.stringify(configSchema()))
  expect(schema.properties.track).toMatchObject({ required: ['vms', 'proxyUri'], additionalProperties: false })
  expect(Object.keys(schema.properties.vsphere.properties)).toContain('passwordFile')
  expect(JSON.stringify(schema)).not.toContain('"accepts"')
})

test('where nobody says which VM the appliance is, the server does not start, and says what to write', async () => {
  const config = load(`listen: ["tcp://127.0.0.1:0"]\nhttp: "off"\nhistory: memory\n${VSPHERE}${TRACK}`)
  await expect(start(config, {})).rejects.toMatchObject({
    code: 'VSPC_USAGE',
    message: expect.stringContaining('name it as track.appliance in the configuration'),
  })
})
