import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve, sep } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { NameTemplate, NOVA_TEMPLATE, otherName } from '../../src/app/log-files/names.ts'
import { TailFile } from '../../src/app/log-files/tail-file.ts'
import { segmentName } from '../../src/history/port-file.ts'
import { eventually, RawVm, startApp } from './support.ts'

const UUID = '6d1f2a8e-0000-1111-2222-333344445555'
const port = (over: Partial<Parameters<NameTemplate['nameOf']>[0]> = {}) => ({
  id: UUID,
  name: 'web01',
  uuid: UUID,
  label: null,
  ...over,
})

let root = ''
let dir = ''
let count = 0
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'vspc-logs-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeEach(() => {
  dir = join(root, String(++count))
  mkdirSync(dir)
})

describe('names', () => {
  test('as Nova looks for them, and as operators want them', () => {
    const nova = new NameTemplate(NOVA_TEMPLATE, true)
    expect(nova.nameOf(port())).toBe('6d1f2a8e000011112222333344445555')
    expect(nova.nameOf(port({ label: 'com2' }))).toBe('6d1f2a8e000011112222333344445555+com2')
    expect(nova.nameOf(port({ uuid: null }))).toBeNull()
    const named = new NameTemplate('vms/{name}/{uuid}{-label}.log')
    expect(named.nameOf(port())).toBe(`vms/web01/${UUID}.log`)
    expect(named.nameOf(port({ name: 'Web Server/../../etc', label: 'a b' }))).toBe(
      `vms/Web_Server_.._.._etc/${UUID}-a_b.log`,
    )
    expect(named.nameOf(port({ name: '' }))).toBe(`vms/_/${UUID}.log`)
    expect(named.nameOf(port({ name: '..' }))).toBe(`vms/_../${UUID}.log`)
    expect(named.nameOf(port({ name: '-rf' }))).toBe(`vms/_-rf/${UUID}.log`)
    expect(named.nameOf(port({ name: 'größe-日本' }))).toBe(`vms/größe-日本/${UUID}.log`)
  })

  test.each([
    '',
    '/etc/{name}',
    '../{name}',
    '{name}/..',
    'a//{name}',
    '{nmae}',
    '{label}',
    'console.log',
    '{name}/\0',
    'a b{name}',
    '{name}=x',
    'a/b/c/d/{id}',
    `${'x'.repeat(300)}{id}`,
  ])('%j is refused, with what is accepted', (text) => {
    expect(() => new NameTemplate(text)).toThrow(
      expect.objectContaining({ code: 'VSPC_CONFIG_INVALID', message: expect.stringContaining('{name}') }),
    )
  })

  test('whatever VMs are called, no file is made outside of the directory, and two ports never get one name', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc
        .array(
          fc.constantFrom(
            '..',
            '/',
            '\\',
            '\0',
            '.',
            '-',
            '~',
            'a',
            '\n',
            '\u202e',
            '\ud800',
            'é',
            '%2e',
            ':',
            'CON',
            'x'.repeat(300),
          ),
          { maxLength: 8 },
        )
        .map((parts) => parts.join('')),
    )
    const template = fc.constantFrom(
      '{name}/{uuid}{-label}',
      '{name}',
      '{uuidhex}{+label}',
      'x/{id}.log',
      '{name}/{label}/{id}',
    )
    const one = fc.record({ id: hostile, name: hostile, uuid: fc.option(hostile), label: fc.option(hostile) })
    fc.assert(
      fc.property(template, fc.array(one, { maxLength: 5 }), (text, ports) => {
        const folder = join(dir, 'in', 'side')
        rmSync(folder, { recursive: true, force: true })
        const wanted = new NameTemplate(text)
        for (const each of ports) {
          for (const name of [wanted.nameOf(each) as string, otherName(wanted.nameOf(each) as string, each.id)]) {
            const path = resolve(folder, name)
            expect(path.startsWith(folder + sep)).toBe(true)
            expect(relative(folder, path).split(sep).length).toBe(text.split('/').length)
            // For real: the file system agrees, and takes names of that length, drafts too.
            new TailFile(path, 1_000).update({ folder: '/nowhere', files: [], end: 0 })
            expect(lstatSync(path).isFile()).toBe(true)
          }
        }
        const others = new Set(ports.map((each) => otherName('x', each.id)))
        expect(others.size).toBe(new Set(ports.map(({ id }) => id)).size)
      }),
      { numRuns: 300 },
    )
    expect(readdirSync(dir)).toEqual(['in'])
    expect(readdirSync(join(dir, 'in')).filter((name) => name !== 'side')).toEqual([])
  })
})

describe('a file with the end of the output', () => {
  const KEEP = 1_000
  const line = (i: number) => `line ${String(i).padStart(6, '0')}\n`
  let output = ''
  let path = ''
  beforeEach(() => {
    output = ''
    path = join(dir, 'logs', 'vm1')
  })

  /** History of two files, the second of which begins at 600. */
  function print(lines: number) {
    for (let i = 0; i < lines; i++) output += line(output.length / 12)
    writeFileSync(join(dir, segmentName(0)), output.slice(0, 600))
    if (output.length > 600) writeFileSync(join(dir, segmentName(600)), output.slice(600))
    const files = [{ start: 0, end: Math.min(600, output.length) }]
    if (output.length > 600) files.push({ start: 600, end: output.length })
    return { folder: dir, files, end: output.length }
  }
  const text = () => readFileSync(path, 'utf8')

  test('is there from the first byte on, is always the end of the output, whole lines, and bounded', () => {
    const file = new TailFile(path, KEEP)
    for (let i = 0; i < 400; i++) {
      file.update(print(1 + (i % 7)))
      expect(output.endsWith(text())).toBe(true)
      expect(text()).toMatch(/^line /)
      expect(text().length).toBeLessThanOrEqual(2 * KEEP)
      expect(text().length).toBeGreaterThanOrEqual(Math.min(output.length, KEEP - 12))
    }
  })

  test('a reader that has it open goes on reading what it has', () => {
    const file = new TailFile(path, KEEP)
    file.update(print(100))
    const before = statSync(path).ino
    const seen = text()
    linkSync(path, join(dir, 'held'))
    file.update(print(100))
    expect(statSync(path).ino).not.toBe(before)
    expect(readFileSync(join(dir, 'held'), 'utf8')).toBe(seen)
  })

  test('of an earlier run is gone on with, if it ends as history does', () => {
    new TailFile(path, KEEP).update(print(50))
    const { ino } = statSync(path)
    new TailFile(path, KEEP).update(print(0))
    expect(statSync(path).ino).toBe(ino)
    appendFileSync(path, 'not ours')
    new TailFile(path, KEEP).update(print(10))
    expect(output.endsWith(text())).toBe(true)
  })

  test.each([
    ['deleted', () => rmSync(path)],
    ['cut', () => writeFileSync(path, '')],
    ['written to', () => appendFileSync(path, 'x')],
    ['linked to', () => linkSync(path, join(dir, 'other'))],
    [
      'replaced by a link',
      () => {
        writeFileSync(join(dir, 'victim'), 'mine')
        rmSync(path)
        symlinkSync(join(dir, 'victim'), path)
      },
    ],
  ])('that somebody has %s is made anew, and nothing else is touched', (_what, change) => {
    const file = new TailFile(path, KEEP)
    file.update(print(20))
    change()
    file.update(print(1))
    expect(lstatSync(path).isFile()).toBe(true)
    expect(output.endsWith(text())).toBe(true)
    if (existsSync(join(dir, 'victim'))) expect(readFileSync(join(dir, 'victim'), 'utf8')).toBe('mine')
    if (existsSync(join(dir, 'other'))) expect(readFileSync(join(dir, 'other'), 'utf8')).not.toContain(line(20))
  })

  test('of an earlier run is made anew if it ends as history does, but lacks what came before', () => {
    new TailFile(path, KEEP).update(print(150))
    const whole = text()
    // Cut while no server ran; and a file that another program has begun.
    for (const rest of [whole.slice(-24), `else\n${whole}`, `x${whole.slice(1)}`]) {
      writeFileSync(path, rest)
      new TailFile(path, KEEP).update(print(0))
      expect(output.endsWith(text())).toBe(true)
      expect(text().length).toBeGreaterThanOrEqual(KEEP - 12)
    }
  })

  test('what could not be written leaves nothing behind on a disk that is full', () => {
    const source = print(50)
    expect(() => new TailFile(path, KEEP).update({ ...source, folder: join(dir, 'nul\0') })).toThrow()
    expect(readdirSync(join(path, '..'))).toEqual([])
  })

  test('a folder in its place is told, and left alone', () => {
    mkdirSync(path, { recursive: true })
    expect(() => new TailFile(path, KEEP).update(print(1))).toThrow(/EISDIR|ENOTEMPTY|EEXIST/)
    expect(statSync(path).isDirectory()).toBe(true)
  })
})

describe('with a server', () => {
  const listen = (...names: string[]) =>
    names.map((name) => `tcp://127.0.0.1:0?protocol=raw&name=${encodeURIComponent(name)}`)
  const named = (name: string) => ({ logFiles: { dir: join(dir, 'logs'), layout: 'named' as const, name } })
  const read = (name: string) =>
    existsSync(join(dir, 'logs', name)) ? readFileSync(join(dir, 'logs', name), 'utf8') : null

  test('what a VM prints is in its file a moment later, through restarts, and gone with the port', async () => {
    const settings = { listen: listen('web01', '../web01'), dataDir: join(dir, 'data'), ...named('{name}.log') }
    const app = await startApp(settings)
    const vm = await RawVm.connect(app, 0)
    await vm.print(app, 'hello\n', 'web01')
    await eventually(() => read('web01.log') === 'hello\n')
    const other = await RawVm.connect(app, 1)
    await other.print(app, 'elsewhere\n', '../web01')
    await eventually(() => read('_.._web01.log') === 'elsewhere\n')
    await vm.print(app, 'more\n', 'web01')
    vm.socket.destroy()
    await app.stop()
    // Up to date when the server has ended.
    expect(read('web01.log')).toBe('hello\nmore\n')
    expect(readdirSync(dir).sort()).toEqual(['data', 'logs'])
    const again = await startApp(settings)
    const back = await RawVm.connect(again, 0)
    await back.print(again, 'again\n', 'web01')
    await eventually(() => read('web01.log') === 'hello\nmore\nagain\n')
    back.socket.destroy()
    await eventually(() => again.server.table.resolve('web01').state === 'offline')
    expect((await fetch(`${again.url}/api/v1/ports/web01`, { method: 'DELETE' })).status).toBe(204)
    await eventually(() => read('web01.log') === null)
  }, 30_000)

  test('Nova, which is another user, can look whether a file is there, and nobody sees a list', async () => {
    const before = process.umask(0o077)
    onTestFinished(() => void process.umask(before))
    const app = await startApp({ listen: listen('vm1'), dataDir: join(dir, 'data'), ...named('{name}') })
    const vm = await RawVm.connect(app)
    await vm.print(app, 'one\n')
    await eventually(() => read('vm1') === 'one\n')
    expect(statSync(join(dir, 'logs')).mode & 0o777).toBe(0o751)
    expect(statSync(join(dir, 'logs', 'vm1')).mode & 0o777).toBe(0o600)
  })

  test('two ports that would share a name do not', async () => {
    const app = await startApp({ listen: listen('a b', 'a_b'), dataDir: join(dir, 'data'), ...named('{name}') })
    for (const [i, name] of ['a b', 'a_b'].entries()) {
      const vm = await RawVm.connect(app, i)
      await vm.print(app, `this is ${name}\n`, name)
    }
    // Without drafts, which are hidden.
    const files = () =>
      (existsSync(join(dir, 'logs')) ? readdirSync(join(dir, 'logs')) : []).filter((name) => name[0] !== '.')
    await eventually(() => files().length === 2)
    const texts = files().map((name) => read(name))
    expect(texts.sort()).toEqual(['this is a b\n', 'this is a_b\n'])
  })

  test('a directory that cannot be written is told once, and history goes on', async () => {
    writeFileSync(join(dir, 'logs'), 'a file')
    const app = await startApp({ listen: listen('vm1'), dataDir: join(dir, 'data'), ...named('{name}') })
    const vm = await RawVm.connect(app)
    await vm.print(app, 'one\n')
    await eventually(() => app.logged.find('log files cannot be written') !== undefined)
    rmSync(join(dir, 'logs'))
    await eventually(() => read('vm1') === 'one\n')
    await eventually(() => app.logged.find('log files are written again') !== undefined)
    expect(app.logged.lines.filter(({ msg }) => String(msg).includes('cannot be written'))).toHaveLength(1)
  })

  test('settings that make no sense are refused', async () => {
    const bad = async (logFiles: object, more = {}) => {
      const folder = mkdtempSync(join(root, 'bad-'))
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
      await startApp({ dataDir: folder, logFiles, ...more } as never)
    }
    await expect(bad({})).rejects.toThrow(/logFiles.dir is missing/)
    await expect(bad({ dir: 'x', name: '{id}' })).rejects.toThrow(/layout: named/)
    await expect(bad({ dir: 'x', layout: 'named' })).rejects.toThrow(/logFiles.name is missing/)
    await expect(bad({ dir: 'x', layout: 'named', name: '../{id}' })).rejects.toThrow(/"\.\."/)
    await expect(bad({ dir: 'x' }, { history: 'memory' })).rejects.toThrow(/history on disk/)
  })
})
