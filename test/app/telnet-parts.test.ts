import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type ConfigError, effectiveSettings, loadConfig, type Settings } from '../../src/app/index.ts'
import { AlternateScreen } from '../../src/app/telnet/alternate-screen.ts'
import { LineEditor } from '../../src/app/telnet/line-editor.ts'
import { Menu, type MenuEntry } from '../../src/app/telnet/menu.ts'
import { TelnetPortMap } from '../../src/app/telnet/port-map.ts'
import { TelnetWords } from '../../src/app/telnet/words.ts'
import type { Logger } from '../../src/base/index.ts'

describe('settings', () => {
  const load = (telnet: Settings['telnet'], flags: Settings = {}) =>
    loadConfig({ env: {}, flags: { ...flags, ...(telnet === undefined ? {} : { telnet }) } })

  const faults = (telnet: object): string => {
    try {
      load(telnet)
      return ''
    } catch (error) {
      return (error as ConfigError).problems.map(({ where, message }) => `${where}: ${message}`).join('\n')
    }
  }

  const DEFAULTS = {
    notices: true,
    binary: true,
    escape: { first: 5, second: 0x63 },
    portEscape: null,
    cert: null,
    key: null,
  }

  test('none, each alone, and both; they come out as they went in', () => {
    expect(load(undefined).telnet).toBeNull()
    expect(load({ ports: 'off', menu: 'off' }).telnet).toBeNull()
    const ports = { host: '127.0.0.1', first: 13400, last: 13999 }
    expect(load({ ports: '13400-13999' }).telnet).toEqual({ ...DEFAULTS, ports, menu: null })
    const both = load({
      ports: '[::1]:13400-13400',
      menu: 'localhost:13399',
      notices: false,
      binary: false,
      escape: '^Xq',
      portEscape: '^ec',
    })
    expect(both.telnet).toEqual({
      ports: { host: '::1', first: 13400, last: 13400 },
      menu: { host: 'localhost', tcpPort: 13399 },
      notices: false,
      binary: false,
      escape: { first: 0x18, second: 0x71 },
      portEscape: { first: 5, second: 0x63 },
      cert: null,
      key: null,
    })
    expect(load(effectiveSettings(both).telnet).telnet).toEqual(both.telnet)
  })

  test.each([
    [{ ports: '0.0.0.0:13400-13999' }, /^--telnet: telnet ports "0.0.0.0:13400-13999" can be reached from other mach/],
    [{ menu: '10.0.0.1:1' }, /^--telnet-menu: telnet menu "10.0.0.1:1" can be reached from other machines/],
    [{ menu: 'myhost:1' }, /^--telnet-menu: telnet menu "myhost:1": myhost is a name/],
    [{ menu: '13399' }, /^--telnet-menu: telnet menu "13399" is not an address and port/],
    [{ ports: '13400' }, /^--telnet: telnet ports "13400" are not a range of TCP ports; accepted is "FIRST-LAST"/],
    [{ ports: '0-9' }, /not a range/],
    [{ ports: '1-65536' }, /not a range/],
    [{ ports: '20-10' }, /end before they begin/],
    [{ ports: '13400-13999', menu: '127.0.0.1:13500' }, /telnet.menu is on TCP port 13500, one of telnet.ports/],
    [{ prots: '13400-13999' }, /"telnet.prots" is not a setting; .* did you mean ports\?/],
    [{ escape: 'c' }, /telnet.escape "c" cannot begin a command; accepted is a control key and another one/],
    [{ portEscape: '^[c' }, /telnet.portEscape "\^\[c" cannot begin a command: that control key is Enter, the begin/],
    [{ menu: '127.0.0.1:1', cert: 'a.pem' }, /telnet.cert needs its key: give telnet.key, too/],
    [{ menu: '127.0.0.1:1', key: 'a.pem' }, /telnet.key needs its certificate: give telnet.cert, too/],
    [{ menu: '10.0.0.1:1', cert: 'a.pem', key: 'b.pem' }, /10.0.0.1:1" can be reached .* nothing says who may use it/],
    [{ notices: 'no' }, /telnet.notices is the text "no"; accepted is true or false/],
  ])('%o is refused with what is accepted', (telnet, fault) => {
    expect(faults(telnet)).toMatch(fault)
  })
})

describe('the line editor', () => {
  function typed(chunks: readonly Uint8Array[]): { lines: string[]; echo: string; left: boolean } {
    const editor = new LineEditor()
    const seen = { lines: [] as string[], echo: [] as Uint8Array[], left: false }
    const sink = {
      echo: (text: string | Uint8Array) => void seen.echo.push(Buffer.from(text as string)),
      line: (text: string) => seen.lines.push(text) > 0,
      leave: () => {
        seen.left = true
      },
    }
    for (const chunk of chunks) if (!seen.left) editor.push(chunk, sink)
    return { ...seen, echo: Buffer.concat(seen.echo).toString('utf8') }
  }
  const text = (...texts: string[]) => texts.map((one) => Buffer.from(one))

  test.each([
    ['a line', 'web1\r', ['web1'], 'web1\r\n'],
    ['backspace, both kinds, not past the beginning', '\x08ab\x7f\x08\x08c\r', ['c'], 'ab\b \b\b \bc\r\n'],
    ['a character of several bytes goes as one', 'ä\x7fö\r', ['ö'], 'ä\b \bö\r\n'],
    ['Ctrl-U', 'abc\x15d\r', ['d'], 'abc\b \b\b \b\b \bd\r\n'],
    ['arrow and function keys', 'a\x1b[A\x1b[15~\x1bOPb\r', ['ab'], 'ab\r\n'],
    ['other control characters', 'a\t\0b\r', ['ab'], 'ab\r\n'],
    [
      'Enter as CR LF and as CR NUL, also where BINARY leaves them as they are',
      'a\r\nb\r\0\n',
      ['a', 'b', ''],
      'a\r\nb\r\n\r\n',
    ],
  ])('%s', (_name, keys, lines, echo) => {
    expect(typed(text(keys))).toEqual({ lines, echo, left: false })
  })

  test('Ctrl-C leaves, Ctrl-D only on an empty line', () => {
    expect(typed(text('ab\x03')).left).toBe(true)
    expect(typed(text('ab\x04')).left).toBe(false)
    expect(typed(text('\x04')).left).toBe(true)
  })

  test('a line has an end, whatever is sent', () => {
    const { lines } = typed(text('x'.repeat(5_000), '\r'))
    expect(lines).toEqual(['x'.repeat(200)])
  })

  test('any split gives the same', () => {
    const key = fc.oneof(fc.constantFrom(0x0d, 0x0a, 0x08, 0x15, 0x1b, 0x5b, 0x41), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(fc.array(key, { maxLength: 40 }), (keys) => {
        expect(typed(keys.map((one) => Uint8Array.of(one)))).toEqual(typed([Uint8Array.from(keys)]))
      }),
    )
  })
})

describe('the menu', () => {
  const entry = (name: string, id = `id-${name}`): MenuEntry => ({ name, id, state: 'online', host: '10.0.0.1' })
  const many = Array.from({ length: 40 }, (_, i) => entry(`web${String(i + 1).padStart(2, '0')}`))
  const first = (text: string) => text.slice(0, text.indexOf('\r\n'))
  const said = (menu: Menu<MenuEntry>, line: string) => {
    const answer = menu.answer(line)
    return answer.kind === 'say' ? answer.text : JSON.stringify(answer)
  }

  test('pages, round and round', () => {
    const menu = new Menu(() => many)
    expect(first(menu.open())).toBe('Serial ports: 1 to 18 of 40')
    expect(first(said(menu, ''))).toBe('Serial ports: 19 to 36 of 40')
    expect(said(menu, '')).toMatch(/^Serial ports: 37 to 40 of 40\r\n 37 {2}web37 {2}online {5}10\.0\.0\.1\r\n/)
    expect(first(said(menu, ''))).toBe('Serial ports: 1 to 18 of 40')
    expect(menu.answer('38')).toEqual({ kind: 'attach', entry: many[37], mode: null, force: false })
  })

  test('numbers mean what was shown last, also when VMs have come since', () => {
    let list = [entry('b'), entry('c')]
    const menu = new Menu(() => list)
    menu.open()
    list = [entry('a'), ...list]
    expect(menu.answer('1')).toMatchObject({ entry: { name: 'b' } })
    expect(menu.answer('7')).toMatchObject({ kind: 'say' })
  })

  test('a whole name counts more than those that contain it; a unique part, or beginning of an id, is enough', () => {
    const menu = new Menu(() => [entry('web'), entry('web2'), entry('DB', '564d-1'), entry('q')])
    menu.open()
    expect(menu.answer('web')).toMatchObject({ kind: 'attach', entry: { name: 'web' }, mode: null })
    expect(menu.answer(' s  db ')).toMatchObject({ kind: 'attach', entry: { name: 'DB' }, mode: 'read' })
    expect(menu.answer('564D')).toMatchObject({ kind: 'attach', entry: { name: 'DB' } })
    expect(first(said(menu, 'we'))).toBe('Serial ports with "we": 2')
    expect(menu.answer('x web')).toMatchObject({ entry: { name: 'web' }, mode: 'exclusive', force: false })
    expect(menu.answer('f db')).toMatchObject({ entry: { name: 'DB' }, mode: 'write', force: true })
    expect(menu.answer('w db')).toMatchObject({ kind: 'who', entry: { name: 'DB' } })
    expect(menu.answer('w')).toEqual({ kind: 'who', entry: null })
    expect(menu.answer('q')).toEqual({ kind: 'leave' })
  })

  test('nothing to choose, and a name that nobody has: it is shown harmlessly', () => {
    const menu = new Menu<MenuEntry>(() => [])
    expect(menu.open()).toBe('No VM has connected yet. Enter looks again, q leaves.\r\n> ')
    expect(said(menu, '\x9b31m\u202ex')).toBe('No port is called "31mx".\r\n> ')
  })

  test('a long name is cut, and columns stay in line', () => {
    const page = new Menu(() => [entry('n'.repeat(80)), entry('short')]).open()
    const rows = page.split('\r\n').slice(1, 3)
    expect(rows[0]).toContain(`${'n'.repeat(39)}~  online`)
    expect(rows[0]?.indexOf('online')).toBe(rows[1]?.indexOf('online'))
  })
})

test('what is told: states and hosts, each once', () => {
  const words = new TelnetWords('esx1', null)
  const state = (now: 'online' | 'offline' | 'migrating', host: string, reason = '') =>
    words.of({ type: 'state', state: now, host, reason })
  expect([
    state('migrating', 'esx1'),
    state('migrating', 'esx1'),
    state('online', 'esx2', 'VMOTION-COMPLETE'),
    state('online', 'esx2'),
    state('migrating', 'esx2'),
    state('online', 'esx2', 'VMOTION-ABORT'),
    state('offline', 'esx2', 'connection lost'),
    words.state,
    state('online', 'esx3'),
    words.state,
  ]).toEqual([
    'the VM is moving to another host...',
    null,
    'now on esx2',
    null,
    'the VM is moving to another host...',
    'stayed on esx2 (VMOTION-ABORT)',
    'the VM is offline, waiting for it (connection lost)',
    'offline, waiting for it',
    'the VM is online again, on esx3',
    'online on esx3',
  ])
})

describe('the alternate screen', () => {
  const isOnAfter = (...texts: string[]) => {
    const screen = new AlternateScreen()
    for (const text of texts) screen.push(Buffer.from(text, 'latin1'))
    return screen.on
  }

  test.each([
    ['\x1b[?1049h', true],
    ['text \x1b[?25;1049h more', true],
    ['\x1b[?47h\x1b[?47l', false],
    ['\x1b[?25h', false],
    ['\x1b[1049h', false],
    ['\x1b\x1b[?1049h', true],
    [`\x1b[?${'9'.repeat(100)};1049h`, false],
  ])('%j: %s', (text, on) => {
    expect(isOnAfter(text)).toBe(on)
  })

  test('any split gives the same', () => {
    const piece = fc.constantFrom('\x1b', '[', '?', '1049', '47', ';', 'h', 'l', 'x', '\x1b[?1049h', '\x1b[?1049l')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const whole = pieces.join('')
        expect(isOnAfter(...whole)).toBe(isOnAfter(whole))
      }),
    )
  })
})

describe('the TCP ports given out', () => {
  const logged: unknown[] = []
  const log = { error: (...args: unknown[]) => void logged.push(args) } as unknown as Logger

  function file(): string {
    const dir = mkdtempSync(join(tmpdir(), 'vspc-telnet-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    return join(dir, 'sub', 'telnet-ports.json')
  }

  test('a port that gets another id takes its number along, unless that id had one before', async () => {
    const path = file()
    const map = TelnetPortMap.read(path, log)
    map.set('addr:10.0.0.1', 13400)
    map.set('addr:10.0.0.2', 13401)
    map.set('uuid-2', 13402)
    map.rename('addr:10.0.0.1', 'uuid-1')
    map.rename('addr:10.0.0.2', 'uuid-2')
    map.rename('nobody', 'uuid-3')
    await map.save()
    const again = TelnetPortMap.read(path, log)
    expect([...again.entries()]).toEqual([
      ['addr:10.0.0.2', 13401],
      ['uuid-2', 13402],
      ['uuid-1', 13400],
    ])
    expect([again.holderOf(13400), again.get('addr:10.0.0.1')]).toEqual(['uuid-1', null])
  })

  test('a number has one holder; nothing is written without need, and a name like __proto__ is one', async () => {
    const path = file()
    const map = TelnetPortMap.read(path, log)
    await map.save()
    expect(existsSync(path)).toBe(false)
    map.set('a', 13400)
    map.set('name:__proto__', 13400)
    expect([map.get('a'), map.holderOf(13400)]).toEqual([null, 'name:__proto__'])
    await map.save()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(TelnetPortMap.read(path, log).get('name:__proto__')).toBe(13400)
  })

  test('a folder that cannot be written is told once, and tried again', async () => {
    const path = file()
    // Something else is in the place of the folder.
    writeFileSync(dirname(path), '')
    const map = TelnetPortMap.read(path, log)
    logged.length = 0
    map.set('a', 13400)
    await map.save()
    await map.save()
    expect(logged).toHaveLength(1)
    rmSync(dirname(path))
    await map.save()
    expect(TelnetPortMap.read(path, log).get('a')).toBe(13400)
  })
})
