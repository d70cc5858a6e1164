import { spawnSync } from 'node:child_process'
import { beforeAll, describe, expect, test } from 'vitest'
import { allNodes, type CommandNode, commandTree } from '../../src/cli/command-tree.ts'
import { EXIT } from '../../src/cli/exit-codes.ts'
import { manualPages } from '../../src/cli/manual.ts'
import { buildProgram, COMMANDS } from '../../src/cli/program.ts'
import { findProgram } from '../../src/sim/index.ts'

let tree: CommandNode
let pages: Map<string, string>
beforeAll(async () => {
  tree = commandTree(await buildProgram([], COMMANDS, true))
  pages = manualPages(tree, '1.2.3')
})

test('a page for the program and for each command; the same every time', async () => {
  expect([...pages.keys()]).toEqual(['vspc.1', ...COMMANDS.map(({ name }) => `vspc-${name}.1`)])
  const again = manualPages(commandTree(await buildProgram([], COMMANDS, true)), '1.2.3')
  expect([...again]).toEqual([...pages])
})

test('every option of every command is in its page, and every exit code in that of the program', () => {
  const undo = (text: string) => text.replaceAll('\\-', '-').replaceAll('\\(aq', "'").replaceAll('\\(ha', '^')
  for (const node of allNodes(tree)) {
    const page = undo(pages.get(`${node.path.split(' ').slice(0, 2).join('-')}.1`) ?? '')
    for (const { flags } of node.options) expect(page).toContain(`\n.B ${flags}\n`)
    for (const { name } of node.arguments) expect(page).toContain(`\n.I ${name}`)
  }
  const { hangup, terminated, ...documented } = EXIT
  for (const code of Object.values(documented)) expect(pages.get('vspc.1')).toContain(`\n.B ${code}\n`)
  expect([hangup, terminated]).toEqual([129, 143])
})

test('nothing begins a request by accident, and no character is lost', () => {
  const hostile: CommandNode = {
    ...(tree.children[0] as CommandNode),
    description: '.so /etc/passwd',
    text: "'quoted' \\fBbackslash\\fR\n\nExamples:\n  .TH x\n  'x' ä ^] ~ `y` - --flag",
  }
  const page = manualPages({ ...tree, children: [hostile] }, '1').get(`vspc-${hostile.name}.1`) ?? ''
  expect(page).not.toMatch(/^(?:\.so|\.TH x|')/m)
  expect(page).toContain('\\&.so /etc/passwd')
  expect(page).toContain('\\eFBbackslash'.replace('F', 'f'))
  expect(page).toMatch(/^[\x20-\x7e\n]*$/)
})

const groff = findProgram('groff', process.env)
if (!groff) process.stderr.write('\nSKIPPED: manual pages in groff, which is not installed\n')

describe.skipIf(!groff)('groff', () => {
  test('sets every page without a warning, and shows what stands in it', () => {
    for (const [name, text] of pages) {
      const { status, stdout, stderr } = spawnSync('groff', ['-man', '-ww', '-Tutf8', '-P-cbou'], {
        input: text,
        encoding: 'utf8',
      })
      expect([name, status, stderr]).toEqual([name, 0, ''])
      expect(stdout).toContain('1.2.3')
    }
    const { stdout } = spawnSync('groff', ['-man', '-Tutf8', '-P-cbou'], {
      input: pages.get('vspc-expect.1') ?? '',
      encoding: 'utf8',
    })
    expect(stdout).toContain("vspc expect web1 --wait 'login: $' --timeout 5m --fail-on 'Kernel panic'")
    expect(stdout).toContain(String.raw`--wait 'rc=(\d+)' -o groups`)
  })
})
