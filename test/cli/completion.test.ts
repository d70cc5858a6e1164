import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allNodes, type CommandNode, commandTree } from '../../src/cli/command-tree.ts'
import { bashCompletion } from '../../src/cli/completion-bash.ts'
import { fishCompletion } from '../../src/cli/completion-fish.ts'
import { zshCompletion } from '../../src/cli/completion-zsh.ts'
import { buildProgram, COMMANDS } from '../../src/cli/program.ts'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { FakePort, FakeServer } from './fake-server.ts'

const run = promisify(execFile)

// The scripts in the shells they are for, with a `vspc` in the PATH that only knows the names of ports.
const folder = mkdtempSync(join(tmpdir(), 'vspc-completion-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = (name: string) => join(folder, name)
let tree: CommandNode
let env: Record<string, string>

beforeAll(async () => {
  tree = commandTree(await buildProgram([], COMMANDS, true))
  writeFileSync(path('c.bash'), bashCompletion(tree))
  writeFileSync(path('c.zsh'), zshCompletion(tree))
  writeFileSync(path('c.fish'), fishCompletion(tree))
  mkdirSync(path('bin'))
  mkdirSync(path('work'))
  writeFileSync(path('work/capture.jsonl'), '')
  writeFileSync(path('bin/vspc'), `#!/bin/sh\necho "$@" >> ${path('asked')}\nprintf 'web1\\nweb2\\ndb 1\\n'\n`)
  chmodSync(path('bin/vspc'), 0o755)
  env = { PATH: `${path('bin')}:${process.env['PATH']}`, HOME: folder, TERM: 'vt100' }
})

test('every command, with its options and arguments, is in the tree', () => {
  const nodes = allNodes(tree)
  expect(nodes.map((node) => node.path)).toEqual(
    expect.arrayContaining(['vspc', ...COMMANDS.map(({ name }) => `vspc ${name}`), 'vspc relay next-hop get']),
  )
  const node = nodes.find((each) => each.path === 'vspc expect')
  expect(node).toMatchObject({ arguments: [{ name: 'port', offer: 'ports', required: true }] })
  expect(node?.options).toContainEqual({
    flags: '-o, --print <what>',
    names: ['-o', '--print'],
    summary: 'match (default), groups: what stands in ( ), all: everything seen, or none',
    value: 'required',
    offer: { words: ['match', 'groups', 'all', 'none'] },
  })
  expect(node?.text).toMatch(/^--send and --wait[\s\S]*Examples:[\s\S]*--json$/)
})

/** What is typed, and what is offered for the last word. */
const CASES: [string, string[]][] = [
  ['vspc exp', ['expect']],
  ['vspc l', ['log', 'ls']],
  ['vspc ports --out', ['--output']],
  ['vspc ports -o ', ['json', 'table']],
  ['vspc ls -o j', ['json']],
  ['vspc ports --output=t', ['table']],
  ['vspc attach we', ['web1', 'web2']],
  ['vspc attach --escape ^A -s we', ['web1', 'web2']],
  ['vspc attach --wait we', ['web1', 'web2']],
  ['vspc attach --server http://127.0.0.1:1 we', ['web1', 'web2']],
  ['vspc attach --server=http://127.0.0.1:1 we', ['web1', 'web2']],
  ['vspc expect web1 --wa', ['--wait', '--wait-port']],
  ['vspc expect web1 --wait x --print g', ['groups']],
  ['vspc expect --timeout 5s web1 web', []],
  ['vspc relay st', ['status']],
  ['vspc relay next-hop ', ['get', 'set']],
  ['vspc config check cap', ['capture.jsonl']],
  ['vspc send web1 --file cap', ['capture.jsonl']],
  ['vspc completion z', ['zsh']],
  ['vspc send web1 text we', []],
]

describe('bash', () => {
  /** As readline calls it: words cut at blanks, and at = and : for themselves. */
  async function offered(line: string): Promise<string[]> {
    const words = line.split(' ').flatMap((word) => (word === '' ? [''] : (word.match(/[=:]+|[^=:]+/g) ?? [])))
    const script = `source ${path('c.bash')}
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:' COMP_LINE=$1 COMP_POINT=\${#1}; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_vspc; printf '%s\\n' "\${COMPREPLY[@]}"`
    const { stdout } = await run('bash', ['--norc', '-c', script, 'bash', line, ...words], { env, cwd: path('work') })
    return stdout.split('\n').filter((word) => word !== '')
  }

  test.each(CASES)('%s', async (line, words) => {
    expect((await offered(line)).sort()).toEqual(words)
  })

  test('names are quoted; the server on the line is the one that is asked; nothing is asked for else', async () => {
    rmSync(path('asked'), { force: true })
    expect(await offered('vspc attach --server http://far:1 --token-file=t db')).toEqual(['db\\ 1'])
    const { stdout } = await run('cat', [path('asked')])
    expect(stdout).toBe('completion ports --server=http://far:1 --token-file=t\n')
  })
})

describeWithPeers(['python3'], 'an interactive bash', () => {
  test('Tab', async () => {
    const pty = await Pty.start(['bash', '--norc', '--noprofile', '-i'], { env: { ...env, PS1: '$ ' } })
    try {
      await pty.expect(/[$#] $/)
      pty.write(`bind 'set enable-bracketed-paste off'; source ${path('c.bash')}; echo so""urced\r`)
      await pty.expect('sourced\r\n')
      pty.write('vspc exp\t')
      await pty.expect('expect ')
      pty.write('web1 --print=gr\t')
      await pty.expect('groups')
      pty.write('\x15vspc attach db\t')
      await pty.expect('db\\ 1')
    } finally {
      await pty.stop()
    }
  })
})

describeWithPeers(['fish'], 'fish', () => {
  test('offers the same', async () => {
    for (const [line, words] of CASES) {
      const script = `source ${path('c.fish')}; complete -C ${JSON.stringify(line)}`
      const options = { env: { ...process.env, ...env }, cwd: path('work') }
      const { stdout } = await run('fish', ['--no-config', '-c', script], options)
      const offered = stdout.split('\n').map((each) => (each.split('\t')[0] ?? '').replace(/^--output=/, ''))
      expect(offered.filter((word) => word !== '').sort(), line).toEqual(words)
    }
  })
})

describeWithPeers(['zsh'], 'zsh', () => {
  // zsh completes only for a person: one is played, and what it would offer is caught on the way.
  const DRIVER = `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PROMPT=; unset zle_bracketed_paste; fpath=('$1' $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w z 'compadd() { local -a hits; builtin compadd -O hits "$@"; print -rl -- "HIT "$^hits; builtin compadd "$@" }'
zpty -w z 'tabbed() { zle expand-or-complete; print -r -- TAB""BED }; zle -N tabbed; bindkey "^I" tabbed'
zpty -w z 'cd '$2'; print REA""DY'
zpty -r z out '*READY*'
for line in "\${@:3}"; do
  zpty -n -w z $line$'\\t'
  zpty -r z out '*TABBED*'
  print -r -- $out
  zpty -n -w z $'\\x15print DO""NE\\r'
  zpty -r z out '*DONE*'
  print '====='
done`

  test('offers the same', async () => {
    mkdirSync(path('zfunc'), { recursive: true })
    writeFileSync(path('zfunc/_vspc'), zshCompletion(tree))
    const args = ['-f', '-c', DRIVER, 'zsh', path('zfunc'), path('work'), ...CASES.map(([line]) => line)]
    const { stdout } = await run('zsh', args, { env: { ...process.env, ...env } })
    for (const [index, shown] of stdout.split('=====').slice(0, -1).entries()) {
      const hits = [...shown.matchAll(/HIT ([^\r\n]+)/g)].map((hit) => (hit[1] ?? '').trim())
      const [line, words] = CASES[index] as (typeof CASES)[number]
      expect([...new Set(hits)].sort(), line).toEqual(words)
    }
  })
})

describe('names of ports', () => {
  test('names, with labels where there are; ids where names are not unique; nothing without a server', async () => {
    const twins = [new FakePort('twin'), new FakePort('twin')]
    const server = await FakeServer.start(new FakePort('web1'), new FakePort('db', { label: 'com2' }), ...twins)
    const listed = await runVspc(['completion', 'ports', '--server', server.url])
    await server.stop()
    expect(listed.stdout.toString().trimEnd().split('\n')).toEqual(
      ['db/com2', 'web1', ...twins.map(({ info }) => info.id)].sort(),
    )
    const without = await runVspc(['completion', 'ports', '--server', server.url])
    expect([without.code, without.stdout.toString()]).toEqual([6, ''])
  })

  test('the scripts come from the program itself', async () => {
    for (const [shell, script] of [
      ['bash', bashCompletion(tree)],
      ['fish', fishCompletion(tree)],
      ['zsh', zshCompletion(tree)],
    ] as const) {
      const { code, stdout, stderr } = await runVspc(['completion', shell])
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout.toString()).toBe(script)
    }
    expect((await runVspc(['completion', 'csh'])).code).toBe(2)
  })
})
