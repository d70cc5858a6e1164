import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, CommanderError } from 'commander'
import { afterAll, describe, expect, test } from 'vitest'
import { CODES, ManualClock, VspcError } from '../../src/base/index.ts'
import { CommandExit, EXIT, EXIT_BY_CODE, exitCodeOf } from '../../src/cli/exit-codes.ts'
import { buildProgram, COMMANDS } from '../../src/cli/program.ts'
import { resolveServer } from '../../src/cli/server-address.ts'
import { consoleUrl } from '../../src/client/console-connection.ts'
import { portSegment } from '../../src/client/requests.ts'
import { waitForPort } from '../../src/client/wait-for-port.ts'
import { portInfo } from './fake-server.ts'

const folder = mkdtempSync(join(tmpdir(), 'vspc-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('exit codes', () => {
  test('mean what design.md section 3 says', () => {
    const { hangup, terminated, ...documented } = EXIT
    expect(documented).toEqual({
      ok: 0,
      other: 1,
      usage: 2,
      noSuchPort: 3,
      notAllowed: 4,
      busy: 5,
      unreachable: 6,
      gone: 7,
      timedOut: 124,
      interrupted: 130,
    })
    // The shell's own: 128 and the number of the signal.
    expect([hangup, terminated]).toEqual([129, 143])
  })

  test('every code in the table is one of ours', () => {
    for (const code of Object.keys(EXIT_BY_CODE)) expect(CODES).toHaveProperty(code)
  })

  test.each([
    [new VspcError('VSPC_PORT_NOT_FOUND', ''), 3],
    [new VspcError('VSPC_PORT_AMBIGUOUS', ''), 3],
    [new VspcError('VSPC_CONSOLE_BUSY', ''), 5],
    [new VspcError('VSPC_SERVER_UNREACHABLE', ''), 6],
    [new VspcError('VSPC_PORT_REMOVED', ''), 7],
    [new VspcError('VSPC_WAIT_TIMEOUT', ''), 124],
    [new VspcError('VSPC_ENDPOINT_SCHEME', ''), 2],
    [new VspcError('VSPC_CAPTURE_FORMAT', ''), 1],
    [new CommandExit(EXIT.hangup), 129],
    [new CommanderError(1, 'commander.unknownOption', ''), 2],
    [new CommanderError(0, 'commander.helpDisplayed', ''), 0],
    [Object.assign(new Error(), { code: 'ENOENT' }), 1],
    ['thrown text', 1],
  ])('%s ends with %d', (thrown, code) => {
    expect(exitCodeOf(thrown)).toBe(code)
  })
})

describe('where the server is', () => {
  const options = {}

  test('option before environment before default; an empty variable is none', () => {
    expect(resolveServer(options, {}).url.href).toBe('http://127.0.0.1:13371/')
    expect(resolveServer(options, { VSPC_SERVER: '' }).url.href).toBe('http://127.0.0.1:13371/')
    expect(resolveServer(options, { VSPC_SERVER: 'https://a/' }).url.href).toBe('https://a/')
    expect(resolveServer({ server: 'http://b:1' }, { VSPC_SERVER: 'https://a' }).url.href).toBe('http://b:1/')
  })

  test.each([
    ['127.0.0.1:13371', 'no http:// or https:// address'],
    ['ftp://a', 'no http:// or https:// address'],
    ['http://', 'no http:// or https:// address'],
    ['http://a:99999', 'no valid address'],
    ['http://user:secret@a', 'use --token-file'],
    ['http://a/?x=1', 'query or fragment'],
  ])('%j is refused with the reason and where it came from', (server, reason) => {
    expect(() => resolveServer({ server }, {})).toThrow(reason)
    expect(() => resolveServer({ server }, {})).toThrow('--server')
    expect(() => resolveServer({}, { VSPC_SERVER: server })).toThrow('VSPC_SERVER')
  })

  test('a password in the address is not repeated', () => {
    expect(() => resolveServer({ server: 'http://user:secret@a' }, {})).not.toThrow(/secret/)
  })

  test('tokens: file option, then VSPC_TOKEN, then VSPC_TOKEN_FILE; line ends trimmed', () => {
    const one = file('one', 'token-1\n')
    const two = file('two', 'token-2')
    const env = { VSPC_TOKEN: 'token-0', VSPC_TOKEN_FILE: two }
    expect(resolveServer({ tokenFile: one }, env).token).toBe('token-1')
    expect(resolveServer({}, env).token).toBe('token-0')
    expect(resolveServer({}, { VSPC_TOKEN_FILE: two }).token).toBe('token-2')
    expect(resolveServer({}, {}).token).toBeNull()
  })

  test('a token that would break a header is refused without showing it', () => {
    expect(() => resolveServer({ tokenFile: file('bad', 'hidden\nX-Evil: 1') }, {})).toThrow('the token file holds')
    expect(() => resolveServer({}, { VSPC_TOKEN: 'hidden words' })).not.toThrow(/hidden/)
    expect(() => resolveServer({ tokenFile: file('empty', '\n') }, {})).toThrow('is empty')
  })

  test('a file that cannot be read is a usage error that names the option', () => {
    expect(() => resolveServer({ caFile: join(folder, 'none.pem') }, {})).toThrow(
      /--ca-file: cannot read .*none\.pem: there is no such file/,
    )
    expect(() => resolveServer({}, { VSPC_TOKEN_FILE: join(folder, 'none') })).toThrow(
      /VSPC_TOKEN_FILE: cannot read .*none: there is no such file/,
    )
  })
})

describe('the address of a console', () => {
  const target = { mode: 'write', from: null, force: false } as const

  test.each([
    ['web1', 'web1'],
    ['564d0000-0000-0000-0000-000000000001:com2', '564d0000-0000-0000-0000-000000000001%3Acom2'],
    ['web 1/com2', 'web%201%2Fcom2'],
    ['a?b#c%20', 'a%3Fb%23c%2520'],
    ['vmé', 'vm%C3%A9'],
  ])('%j is one path segment', (port, segment) => {
    const url = consoleUrl(resolveServer({}, {}), { ...target, port })
    expect(url).toBe(`ws://127.0.0.1:13371/api/v1/ports/${segment}/console?mode=write`)
    expect(decodeURIComponent(new URL(url).pathname.split('/')[4] ?? '')).toBe(port)
  })

  test('an empty port is a usage error, dots are not a way out of the path', () => {
    expect(() => portSegment('')).toThrow(expect.objectContaining({ code: 'VSPC_USAGE' }))
    for (const port of ['.', '..']) {
      expect(() => portSegment(port)).toThrow(expect.objectContaining({ code: 'VSPC_PORT_NOT_FOUND' }))
    }
  })

  test('https becomes wss; a path in the address is kept; offset and force are sent', () => {
    const address = resolveServer({ server: 'https://proxy/vspc/' }, {})
    const url = consoleUrl(address, { port: 'a', mode: 'exclusive', from: -100, force: true })
    expect(url).toBe('wss://proxy/vspc/api/v1/ports/a/console?mode=exclusive&from=-100&force=1')
  })
})

describe('waiting for a port', () => {
  const missing = new VspcError('VSPC_PORT_NOT_FOUND', 'no such port')
  const away = new VspcError('VSPC_SERVER_UNREACHABLE', 'away')

  /** Answers in turn; the clock moves on whenever the wait sleeps. */
  async function wait(answers: unknown[], timeoutMs: number) {
    const clock = new ManualClock()
    const notes: string[] = []
    const client = {
      getJson: async () => {
        queueMicrotask(() => setImmediate(() => clock.advance(500)))
        const answer = answers.length > 1 ? answers.shift() : answers[0]
        if (answer instanceof Error) throw answer
        return answer
      },
    }
    const info = await waitForPort(client, 'web1', timeoutMs, clock, (text) => notes.push(text))
    return { info, notes, waitedMs: clock.now() }
  }

  test('a port that is there is taken at once, without a word', async () => {
    const { info, notes } = await wait([portInfo('web1')], 0)
    expect(info.vm.name).toBe('web1')
    expect(notes).toEqual([])
  })

  test('a port that moves just now counts as there', async () => {
    expect((await wait([{ ...portInfo('web1'), state: 'migrating' }], 0)).notes).toEqual([])
  })

  test('it waits for the port to exist, through a restart of the server, and to come online; says so once', async () => {
    const offline = { ...portInfo('web1'), state: 'offline' }
    const { notes, waitedMs } = await wait([missing, away, missing, offline, portInfo('web1')], 60_000)
    expect(notes).toEqual(['there is no port "web1" yet: waiting for it'])
    expect(waitedMs).toBeGreaterThanOrEqual(2_000)
  })

  test('the time-out has a code of its own and says what was missing', async () => {
    await expect(wait([missing], 2_000)).rejects.toMatchObject({
      code: 'VSPC_WAIT_TIMEOUT',
      message: 'there is no port "web1" yet; gave up after 2 s',
    })
  })

  test.each([
    ['a server that cannot be reached from the start', [away], 'VSPC_SERVER_UNREACHABLE'],
    ['a name that fits two ports', [new VspcError('VSPC_PORT_AMBIGUOUS', '')], 'VSPC_PORT_AMBIGUOUS'],
    ['a missing permission', [missing, new VspcError('VSPC_NOT_ALLOWED', '')], 'VSPC_NOT_ALLOWED'],
  ])('%s is not waited for', async (_name, answers, code) => {
    await expect(wait(answers, Number.POSITIVE_INFINITY)).rejects.toMatchObject({ code })
  })
})

describe('the program', () => {
  test.each(COMMANDS.map(({ name }) => name))('%s has help with an example', async (name) => {
    const program = await buildProgram([name, '--help'])
    const command = program.commands.find((each) => each.name() === name) as Command
    // Commands of commands have theirs one level down.
    for (const leaf of command.commands.length > 0 ? command.commands : [command]) {
      let help = ''
      leaf.configureOutput({
        writeOut: (text) => {
          help += text
        },
        getOutHelpWidth: () => 80,
      })
      leaf.outputHelp()
      expect(help).toContain(`vspc ${name}`)
      expect(help).toMatch(/^Examples?:\n/m)
      if (!['ports', 'attach', 'log'].includes(name)) continue
      for (const line of help.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
    }
  })

  test('only the command that is asked for is loaded', async () => {
    const loaded: string[] = []
    const entry = (name: string) => ({
      name,
      summary: name,
      load: async () => {
        loaded.push(name)
        return (program: Command) => void program.command(name)
      },
    })
    const commands = [entry('one'), entry('two')]
    for (const args of [['--version'], ['--help'], [], ['none'], ['help']]) await buildProgram(args, commands)
    expect(loaded).toEqual([])
    await buildProgram(['two', '--x'], commands)
    await buildProgram(['help', 'one'], commands)
    expect(loaded).toEqual(['two', 'one'])
  })
})
