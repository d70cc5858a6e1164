import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { flagName } from '../../src/app/config.ts'
import {
  type Config,
  ConfigError,
  type ConfigInputs,
  configSchema,
  effectiveSettings,
  loadConfig,
} from '../../src/app/index.ts'
import { LIMITS, VspcError } from '../../src/base/index.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vspc-config-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function load(text: string | Uint8Array | null, inputs: Partial<ConfigInputs> = {}): Config {
  if (text === null) return loadConfig({ env: {}, flags: {}, directory, ...inputs })
  writeFileSync(join(directory, 'vspc.yaml'), text)
  return loadConfig({ file: 'vspc.yaml', env: {}, flags: {}, directory, ...inputs })
}

function refusal(text: string | Uint8Array | null, inputs: Partial<ConfigInputs> = {}): VspcError {
  try {
    load(text, inputs)
  } catch (error) {
    if (error instanceof VspcError) return error
    throw error
  }
  throw new Error('accepted')
}

describe('where a setting comes from', () => {
  test('defaults', () => {
    const config = load(null, { env: { HOME: '/home/ann' } })
    expect(effectiveSettings(config)).toEqual({
      listen: ['tcp://127.0.0.1:13370'],
      dial: [],
      forward: [],
      http: '127.0.0.1:13371',
      httpNames: [],
      httpPlain: false,
      dataDir: '/home/ann/.local/state/vspc',
      history: 'disk',
      captureRedact: false,
      serviceUris: [],
      allowDial: [],
      trustedProxies: ['127.0.0.0/8', '::1', 'unix', 'vsock:1', 'vsock:2', 'certificate'],
      writers: 'shared',
      logLevel: 'info',
      limits: Object.fromEntries(Object.entries(LIMITS).map(([name, limit]) => [name, limit.default])),
    })
    expect(config).toMatchObject({ file: null, capture: null, http: { host: '127.0.0.1', tcpPort: 13371 } })
  })

  test('flag before environment before file before default', () => {
    const file = 'logLevel: error\n'
    const env = { VSPC_LOG_LEVEL: 'debug' }
    expect(load(null).logLevel).toBe('info')
    expect(load(file).logLevel).toBe('error')
    expect(load(file, { env }).logLevel).toBe('debug')
    expect(load(file, { env, flags: { logLevel: 'trace' } }).logLevel).toBe('trace')
  })

  test('a list on the command line replaces the one in the file', () => {
    const file = 'listen: ["tcp://127.0.0.1:1"]\ndial: ["tcp://h:2"]\n'
    const config = load(file, { flags: { listen: ['tcp://127.0.0.1:0'] } })
    expect(effectiveSettings(config)).toMatchObject({ listen: ['tcp://127.0.0.1:0'], dial: ['tcp://h:2'] })
  })

  test('off in one source is not "not said" to the others', () => {
    expect(load('http: 127.0.0.1:1\n', { flags: { http: 'off' } }).http).toBeNull()
    expect(load('http: off\n').http).toBeNull()
  })

  test('what a flag leaves undefined comes from the file', () => {
    expect(
      load('writers: single\n', { flags: { writers: undefined } as unknown as ConfigInputs['flags'] }).writers,
    ).toBe('single')
  })

  test('limits are merged one by one', () => {
    const { limits } = load('limits: { dialMs: 5000, historyBytes: 0 }\n')
    expect(limits).toMatchObject({ dialMs: 5000, historyBytes: 0, pingMs: LIMITS.pingMs.default })
  })

  test('VSPC_CONFIG names the file, --config overrules it, empty means none', () => {
    writeFileSync(join(directory, 'other.yaml'), 'writers: single\n')
    expect(load(null, { env: { VSPC_CONFIG: 'other.yaml' } })).toMatchObject({ file: 'other.yaml', writers: 'single' })
    expect(load('writers: shared\n', { env: { VSPC_CONFIG: '/nowhere' } }).writers).toBe('shared')
    expect(load(null, { env: { VSPC_CONFIG: '', VSPC_LOG_LEVEL: '' } })).toMatchObject({ file: null, logLevel: 'info' })
  })

  test('data go to $XDG_STATE_HOME, unless it is relative', () => {
    expect(load(null, { env: { XDG_STATE_HOME: '/state' } }).dataDir).toBe('/state/vspc')
    expect(load(null, { env: { XDG_STATE_HOME: 'state', HOME: '/h' } }).dataDir).toBe('/h/.local/state/vspc')
  })

  test('relative paths belong beside the file, or to the working directory', () => {
    const config = load('dataDir: data\ncapture: ~/cap\nlisten: ["tls://127.0.0.1:1?cert=a.crt&key=/k/a.key"]\n', {
      flags: { dial: ['tls://h:1?ca=ca.pem'] },
      directory,
    })
    expect(config).toMatchObject({ dataDir: join(directory, 'data'), capture: join(homedir(), 'cap') })
    expect(config.listen[0]).toMatchObject({ tls: { cert: join(directory, 'a.crt'), key: '/k/a.key' } })
    expect(config.dial[0]).toMatchObject({ tls: { ca: join(directory, 'ca.pem') } })
    const { forward } = load('forward: ["*=tls://h:1?ca=ca.pem"]\n')
    expect(forward[0]?.template).toMatchObject({ tls: { ca: join(directory, 'ca.pem') } })
  })

  test.each([
    ['an empty file', ''],
    ['only comments', '# nothing yet\n'],
    ['an empty document', '---\n'],
    ['an empty map', '{}'],
    ['a byte order mark and CRLF', '\ufeffwriters: shared\r\n'],
  ])('%s is fine', (_what, text) => {
    expect(load(text).writers).toBe('shared')
  })

  test('no listener is fine where something is dialled', () => {
    expect(load('listen: []\ndial: ["tcp://h:1?protocol=raw"]\n').listen).toEqual([])
  })
})

describe('mistakes in the file have line and column, and say what is accepted', () => {
  const cases: [what: string, text: string, code: string, message: string | RegExp][] = [
    [
      'unknown setting',
      'writers: shared\nlisten2: []\n',
      'INVALID',
      /^vspc\.yaml:2:1: "listen2" is not a setting; accepted are listen, dial, .*limits; did you mean listen\?$/,
    ],
    [
      'unknown limit',
      'limits:\n  dialMss: 1\n',
      'INVALID',
      /^vspc\.yaml:2:3: "limits\.dialMss" is not a setting; .*did you mean dialMs\?$/,
    ],
    [
      'limit too small',
      'limits:\n  firstByteMs: 9\n',
      'INVALID',
      'vspc.yaml:2:16: limits.firstByteMs is 9; accepted is a whole number from 10 to 60000',
    ],
    ['limit too large', 'limits: {firstByteMs: 60001}', 'INVALID', /1:23: limits\.firstByteMs is 60001; accepted is/],
    ['limit with a fraction', 'limits: {dialMs: 100.5}', 'INVALID', /dialMs is 100\.5; accepted is a whole number/],
    ['infinite limit', 'limits: {dialMs: .inf}', 'INVALID', /dialMs is Infinity; accepted is a whole number/],
    ['limit with a unit', 'limits: {dialMs: 10s}', 'INVALID', /dialMs is the text "10s"; accepted is a whole number/],
    [
      'not a list',
      'listen: tcp://127.0.0.1:1',
      'INVALID',
      /1:9: listen is the text "tcp:.*"; accepted is a list of endpoint URIs/,
    ],
    ['not text', 'listen:\n  - 1\n', 'INVALID', /2:5: listen\[0\] is 1; accepted is an endpoint URI/],
    [
      'not a choice',
      'writers: sharde',
      'INVALID',
      'vspc.yaml:1:10: writers is the text "sharde"; accepted is one of shared, single; did you mean shared?',
    ],
    ['YAML 1.1 truth', 'captureRedact: yes', 'INVALID', /is the text "yes"; accepted is true or false/],
    ['a number for an address', 'http: 13371', 'INVALID', /1:7: http is 13371; accepted is "HOST:PORT" or "off"/],
    ['no value', 'http:\ndial: []', 'INVALID', /1:1: http has no value; accepted is .*; give one, or remove the line/],
    ['section without settings', 'limits:\n  # dialMs: 1\n', 'INVALID', /1:1: limits has no value/],
    ['list for a section', 'limits: [1]', 'INVALID', /1:9: limits is a list; accepted is a section/],
    [
      'an endpoint',
      'listen:\n  - tcp://127.0.0.1:1\n  - tpc://h:1\n',
      'INVALID',
      /^vspc\.yaml:3:5: endpoint "tpc:\/\/h:1": scheme "tpc" is not known/,
    ],
    [
      'one place twice',
      'listen:\n  - tcp://127.0.0.1:1\n  - tcp://127.0.0.1:1?protocol=raw\n',
      'INVALID',
      /3:5: .*listen\[0\] is the same place/,
    ],
    [
      'a forward rule',
      'forward:\n  - "*=unix:///run/{uuid}"\n  - "*=unix:///run/x"\n',
      'INVALID',
      /3:5: forward "\*=unix:\/\/\/run\/x": every port that matches needs a path of its own; put \{uuid\}/,
    ],
    [
      'its endpoint',
      'forward: ["*=tcp://h"]',
      'INVALID',
      /1:11: forward "\*=tcp:\/\/h": endpoint "tcp:\/\/h": the port/,
    ],
    [
      'a source',
      'trustedProxies:\n  - unix\n  - localhost\n',
      'INVALID',
      /3:5: "localhost" is not a source of PROXY headers; accepted is an address/,
    ],
    ['a pattern', 'allowDial:\n  - tcp://h\n', 'INVALID', /2:5: pattern "tcp:\/\/h": the port is missing/],
    ['an empty serviceURI', 'serviceUris: [a, ""]', 'INVALID', /1:18: serviceUris\[1\] is not a serviceURI/],
    ['an empty directory', 'dataDir: ""', 'INVALID', /1:10: dataDir is empty/],
    ['nothing to do', 'writers: shared\nlisten: []\n', 'INVALID', /^vspc\.yaml:2:9: there is nothing to do/],
    [
      'limits that contradict',
      'limits:\n  redialMinMs: 20000\n',
      'INVALID',
      /2:16: limits\.redialMinMs is 20000, more than limits\.redialMaxMs \(15000\)/,
    ],
    ['a list as file', '- a\n', 'INVALID', /1:1: the file holds a list; accepted are settings/],
    ['text as file', 'hello', 'INVALID', /1:1: the file holds the text "hello"/],
    ['a hostile key', '__proto__: 1', 'INVALID', /"__proto__" is not a setting/],
    ['a hostile nested key', 'limits: { constructor: 1 }', 'INVALID', /"limits\.constructor" is not a setting/],
    ['a key that is no text', '1: x', 'INVALID', /1:1: "1" is not a setting/],
    [
      'duplicate key',
      'http: off\nhttp: off\n',
      'SYNTAX',
      /^vspc\.yaml:2:1: map keys must be unique; each setting stands once$/,
    ],
    [
      'tab',
      'limits:\n\tdialMs: 1000\n',
      'SYNTAX',
      /^vspc\.yaml:2:1: tabs are not allowed as indentation; indent with spaces/,
    ],
    ['bracket left open', 'listen: [', 'SYNTAX', /^vspc\.yaml:1:/],
    [
      'two documents',
      'http: off\n---\nhttp: off\n',
      'SYNTAX',
      /^vspc\.yaml:2:1: a second document begins; .*remove the line "---"/,
    ],
    ['unknown alias', 'http: *x', 'SYNTAX', /1:7: nothing above is marked &x; quote the value/],
    ['unknown tag', 'http: !env HTTP', 'SYNTAX', /1:7: unresolved tag/],
  ]
  test.each(cases)('%s', (_what, text, code, message) => {
    const error = refusal(text)
    expect(error).toBeInstanceOf(ConfigError)
    expect(error.code).toBe(`VSPC_CONFIG_${code}`)
    if (typeof message === 'string') expect(error.message).toBe(message)
    else expect(error.message).toMatch(message)
  })

  test('all at once, from top to bottom', () => {
    const error = refusal(
      'lisen: []\nlisten: [5, "tcp://h", "unix://x"]\nhttp: 0.0.0.0\nlimits: { dialMs: 0, x: 1 }\nwriters: all\n',
    ) as ConfigError
    expect(error.problems.map(({ line, column }) => `${line}:${column}`)).toEqual([
      '1:1',
      '2:10',
      '2:13',
      '2:24',
      '3:7',
      '4:19',
      '4:22',
      '5:10',
    ])
    expect(error.message.split('\n')).toHaveLength(8)
  })

  test('aliases work, and what is wrong is shown where it is written', () => {
    expect(load('dial: &d ["tcp://h:1"]\nlisten: []\nserviceUris: *d\n').serviceUris).toEqual(['tcp://h:1'])
    const { problems } = refusal('dial: &d ["tcp://h:1", 7]\nserviceUris: *d\n') as ConfigError
    expect(problems.map(({ where }) => where)).toEqual(['vspc.yaml:1:24', 'vspc.yaml:1:24'])
  })

  // Expanded, it would be 9^20 values.
  test('a bomb of aliases is refused', () => {
    const levels = Array.from({ length: 20 }, (_, i) =>
      i === 0
        ? 'a0: &a0 [x, x, x, x, x, x, x, x, x]'
        : `a${i}: &a${i} [${Array(9)
            .fill(`*a${i - 1}`)
            .join(', ')}]`,
    )
    expect(refusal(levels.join('\n')).message).toMatch(/^vspc\.yaml:13:\d+: this is the 101st alias; at most 100/)
    const few = levels.slice(0, 9).map((line) => line.replace(/(, \*a\d+){4}\]/, ']'))
    expect(refusal(few.join('\n'))).toMatchObject({
      code: 'VSPC_CONFIG_SYNTAX',
      message: expect.stringContaining('write repeated values out'),
    })
  })

  test('a value that holds itself is refused', () => {
    expect(refusal('listen: &a [*a]\n').code).toMatch(/^VSPC_CONFIG_/)
  })

  test('text that is not UTF-8', () => {
    expect(refusal(Uint8Array.of(0xff, 0xfe, 0x41))).toMatchObject({
      code: 'VSPC_CONFIG_SYNTAX',
      message: 'vspc.yaml: it is not UTF-8 text; save it as UTF-8',
    })
  })

  test('any text is a configuration or a coded error', () => {
    const piece = fc.constantFrom(
      'listen',
      'limits',
      'http',
      ':',
      ' ',
      '\n',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '&a',
      '*a',
      '"',
      "'",
      '|',
      '>',
      '#',
      '\t',
      '1',
      'tcp://h:1',
      'dialMs',
      '!!',
      '?',
      '<<',
      '~',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
        try {
          load(pieces.join(''))
        } catch (error) {
          expect(error).toBeInstanceOf(VspcError)
          expect((error as VspcError).code).toMatch(/^VSPC_(CONFIG|HTTP)/)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('files that cannot be read', () => {
  test('missing', () => {
    expect(refusal(null, { file: 'missing.yaml' })).toMatchObject({
      code: 'VSPC_CONFIG_READ',
      message: 'missing.yaml: there is no such file; check --config and VSPC_CONFIG',
    })
  })

  test('a directory', () => {
    expect(refusal(null, { file: '.' })).toMatchObject({
      code: 'VSPC_CONFIG_READ',
      message: expect.stringContaining('directory'),
    })
  })

  test('too long', () => {
    expect(refusal('#'.repeat((1 << 20) + 1))).toMatchObject({
      code: 'VSPC_CONFIG_READ',
      message: expect.stringContaining('at most'),
    })
  })
})

describe('flags and environment', () => {
  test('a wrong flag is named as the flag', () => {
    expect(refusal(null, { flags: { listen: ['tcp://h'] } })).toMatchObject({
      code: 'VSPC_ENDPOINT_PORT',
      message: expect.stringMatching(/^--listen: endpoint "tcp:\/\/h": the port is missing/),
    })
    expect(refusal(null, { flags: { dataDir: '' } }).message).toMatch(/^--data-dir: /)
    expect(flagName('captureRedact')).toBe('--redact')
  })

  test('a wrong variable is named as the variable', () => {
    expect(refusal(null, { env: { VSPC_LOG_LEVEL: 'debgu' } })).toMatchObject({
      code: 'VSPC_CONFIG_INVALID',
      message: expect.stringMatching(/^VSPC_LOG_LEVEL: logLevel is the text "debgu"; accepted is one of trace, /),
    })
  })

  test('a mistake in the file does not hide behind a flag', () => {
    expect(refusal('http: nonsense\n', { flags: { http: 'off' } }).message).toMatch(/^vspc\.yaml:1:7: /)
  })
})

describe('http without authentication', () => {
  test.each(['127.0.0.1:0', '127.8.9.10:80', '[::1]:13371', '[0:0:0:0:0:0:0:1]:1', 'localhost:1', 'LOCALHOST:1'])(
    '%s is loopback',
    (http) => {
      expect(load(null, { flags: { http } }).http?.tcpPort).toBe(Number(http.replace(/.*:/, '')))
    },
  )

  test.each(['0.0.0.0:13371', '10.0.0.1:80', '[::]:1', '[fe80::1]:1', '*:1', '128.0.0.1:1', '[::ffff:10.0.0.1]:1'])(
    '%s is refused, with the way out',
    (http) => {
      expect(refusal(null, { flags: { http } })).toMatchObject({
        code: 'VSPC_HTTP_UNSAFE_BIND',
        message: expect.stringMatching(
          /^--http: http ".*" can be reached from other machines.* use 127\.0\.0\.1:\d+ \(--http/,
        ),
      })
      expect(refusal(`http: "${http}"\n`).code).toBe('VSPC_HTTP_UNSAFE_BIND')
    },
  )

  test.each([
    ['example.org:80', /is a name, .*write an address, such as 127\.0\.0\.1:80/],
    ['localhost.example.org:80', /is a name/],
    ['127.0.0.1', /not an address and port/],
    ['127.0.0.1:65536', /not an address and port/],
    ['127.0.0.1:', /not an address and port/],
    [':80', /has no host/],
    ['::1:80', /not an address and port/],
    ['127.1:80', /127\.1 is not an IPv4 address/],
    ['0177.0.0.1:80', /not an IPv4 address/],
    ['[127.0.0.1]:80', /not an IPv6 address/],
    ['http://127.0.0.1:80', /leave out the scheme/],
    ['OFF', /not an address and port/],
  ])('%s is refused', (http, message) => {
    const error = refusal(null, { flags: { http } })
    expect(error.code).toBe('VSPC_CONFIG_INVALID')
    expect(error.message).toMatch(message)
  })
})

describe('output', () => {
  test('the effective settings are a configuration file with the same effect', () => {
    const config = load(
      'listen: ["tcp://127.0.0.1:1?protocol=raw&name=a%20b"]\nhttp: "[::1]:0"\nlimits: { dialMs: 5000 }\nforward: ["*=unix:///run/{uuid}"]\nallowDial: ["tcp://*:1"]\ncapture: c\n',
    )
    const again = load(stringify(effectiveSettings(config)))
    expect(effectiveSettings(again)).toEqual(effectiveSettings(config))
  })

  test('the schema is plain JSON Schema that knows every limit', () => {
    const schema = parse(JSON.stringify(configSchema()))
    expect(schema.$schema).toContain('2020-12')
    expect(schema.properties.limits.properties.dialMs).toMatchObject({
      type: 'integer',
      minimum: LIMITS.dialMs.min,
      maximum: LIMITS.dialMs.max,
      default: LIMITS.dialMs.default,
    })
    expect(Object.keys(schema.properties.limits.properties)).toEqual(Object.keys(LIMITS))
    expect(JSON.stringify(schema)).not.toContain('"accepts"')
  })
})
