/** Command lines in README and docs: a renamed command or option leaves no page behind. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { allNodes, type CommandNode, commandTree, pathsOf } from '../src/cli/command-tree.ts'
import { buildProgram, COMMANDS } from '../src/cli/program.ts'

const root = join(import.meta.dirname, '..')
const pages = [
  'README.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

let nodes: Map<string, CommandNode>
beforeAll(async () => {
  const tree = commandTree(await buildProgram([], COMMANDS, true))
  nodes = new Map(allNodes(tree).flatMap((node) => pathsOf(node).map((path) => [path, node])))
})

/** The words of a shell's line, quotes taken off; a comment, a pipe or another command ends it. */
function words(line: string): string[] {
  const found: string[] = []
  let word: string | null = null
  for (const [token] of line.matchAll(/'[^']*'|"[^"]*"|\\.|\s+|[|;&<>()]|[^\s'"\\|;&<>()]+/g)) {
    if (/^\s/.test(token)) {
      if (word !== null) found.push(word)
      word = null
    } else if (/^[|;&<>()]$/.test(token) || (word === null && token.startsWith('#'))) break
    else word = (word ?? '') + token.replace(/^(['"])([\s\S]*)\1$/, '$2')
  }
  if (word !== null) found.push(word)
  return found
}

/** Every `vspc ...` in code of a page, from `vspc` on: in blocks, and between backquotes. */
function commandLines(text: string): string[] {
  const blocks = [...text.matchAll(/^ *```(?!yaml|json|js|powershell|ini|toml)[^\n]*\n([\s\S]*?)^ *```/gm)].map(
    ([, body = '']) => body,
  )
  const spans = [...text.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/`(vspc [^`]+)`/g)].map(([, body = '']) => body)
  const lines = [...blocks.flatMap((body) => body.replace(/\\\n\s*/g, ' ').split('\n')), ...spans]
  return lines.flatMap((line) => {
    const [, command] =
      /(?:^|[|;&(] *|\$ |npx |-- |exec -it \w+ |^\s+- run: |\brun --rm )(vspc [a-z-].*)$/.exec(line) ?? []
    return command === undefined ? [] : [command]
  })
}

/** What a line asks for that the program does not have; null if all is there. */
function fault(line: string): string | null {
  const [program = '', ...rest] = words(line)
  let node = nodes.get(program) as CommandNode
  let depth = 0
  for (const word of rest) {
    const child = nodes.get(`${node.path} ${word}`)
    if (!child) break
    node = child
    depth++
  }
  // In prose COMMAND, PORT and the like stand for whatever; what has children has to be given one.
  if (depth === 0 && !/^(?:-|[A-Z])/.test(rest[0] ?? '-')) return `no command "${rest[0]}"`
  for (const word of rest.slice(depth)) {
    if (word === '--') break
    const [, option] = /^(--[a-z][a-z-]*|-[a-zA-Z])(?:=.*)?$/.exec(word) ?? []
    if (option === undefined || option === '--help' || option === '--version') continue
    if (!node.options.some(({ names }) => names.includes(option))) return `${node.path} has no ${option}`
  }
  return null
}

test('every command and option that the pages show exists', () => {
  const faults: string[] = []
  let looked = 0
  for (const page of pages) {
    for (const line of commandLines(readFileSync(join(root, page), 'utf8'))) {
      looked++
      const found = fault(line)
      if (found) faults.push(`${page}: ${line}: ${found}`)
    }
  }
  expect(faults).toEqual([])
  expect(looked).toBeGreaterThan(150)
})

test('a command or option that is not there is noticed, one of another command too', () => {
  expect(fault('vspc atach web1')).toBe('no command "atach"')
  expect(fault("vspc ports --web 'x'")).toBe('vspc ports has no --web')
  expect(fault('vspc ports -f')).toBe('vspc ports has no -f')
  expect(fault('vspc attach web1 --wait=30s -x # --nothing')).toBe(null)
  expect(commandLines('```\n$ echo x | vspc attach \\\n  web1\n```\n`vspc log PORT -f`')).toEqual([
    'vspc attach  web1',
    'vspc log PORT -f',
  ])
})
