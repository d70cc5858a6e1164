/** Manual pages (man(7) macros), made from the same table of commands as the help. The same text for the same program. */
import type { ArgumentNode, CommandNode, OptionNode } from './command-tree.ts'

/** File name to text: `vspc.1`, and a page for each command with those below it. */
export function manualPages(tree: CommandNode, version: string): Map<string, string> {
  const pages = new Map([[`${tree.name}.1`, programPage(tree, version)]])
  for (const child of tree.children) pages.set(`${tree.name}-${child.name}.1`, commandPage(child, tree, version))
  return pages
}

function programPage(tree: CommandNode, version: string): string {
  return page([
    ...head(tree.path, tree.description, version),
    '.SH SYNOPSIS',
    `.B ${roff(tree.name)}`,
    '.I COMMAND',
    '[options]',
    '.SH COMMANDS',
    ...tree.children.flatMap(({ name, aliases, summary }) => [
      '.TP',
      `.BR ${roff(`${tree.name}-${name}`)} (1)`,
      sentence(aliases.length === 0 ? summary : `${summary} (also: ${aliases.join(', ')})`),
    ]),
    ...optionSection(tree.options, '.SH OPTIONS'),
    ...textSections(tree.text),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, text]) => ['.TP', `.B ${name}`, sentence(text)]),
    '.SH EXIT STATUS',
    ...EXITS.flatMap(([code, text]) => ['.TP', `.B ${code}`, sentence(text)]),
  ])
}

function commandPage(node: CommandNode, tree: CommandNode, version: string): string {
  return page([
    ...head(node.path, node.summary, version),
    '.SH SYNOPSIS',
    ...synopsis(node),
    '.SH DESCRIPTION',
    sentence(node.description),
    ...commandBody(node, '.SH'),
    '.SH SEE ALSO',
    `.BR ${roff(tree.name)} (1)`,
  ])
}

function commandBody(node: CommandNode, heading: '.SH' | '.SS'): string[] {
  return [
    ...argumentSection(node.arguments, heading),
    ...optionSection(node.options, `${heading} ${heading === '.SH' ? 'OPTIONS' : 'Options'}`),
    ...node.children.flatMap((child) => belowSection(child)),
    ...textSections(node.text),
  ]
}

/** A command of a command. */
function belowSection(node: CommandNode): string[] {
  return [
    `.SH ${roff(node.path).toUpperCase()}`,
    ...synopsis(node),
    '.PP',
    sentence(node.description),
    ...commandBody(node, '.SS'),
  ]
}

function head(path: string, summary: string, version: string): string[] {
  const name = path.replaceAll(' ', '-')
  return [
    // No date: it would differ from build to build.
    `.TH ${roff(name).toUpperCase()} 1 "" "vspc ${roff(version)}" "User Commands"`,
    '.SH NAME',
    `${roff(name)} \\- ${roff(summary)}`,
  ]
}

function synopsis({ path, usage, children }: CommandNode): string[] {
  return [`.B ${roff(path)}`, ...(children.length > 0 ? ['[options]', '[command]'] : [roff(usage)])]
}

function argumentSection(list: readonly ArgumentNode[], heading: string): string[] {
  if (list.length === 0) return []
  return [
    `${heading} ${heading === '.SH' ? 'ARGUMENTS' : 'Arguments'}`,
    ...list.flatMap(({ name, summary, variadic }) => [
      '.TP',
      `.I ${roff(name)}${variadic ? '...' : ''}`,
      sentence(summary),
    ]),
  ]
}

function optionSection(options: readonly OptionNode[], heading: string): string[] {
  if (options.length === 0) return []
  const entries = options.flatMap(({ flags, summary, offer }) => {
    const words = typeof offer === 'object' ? ` (${offer.words.join(', ')})` : ''
    return ['.TP', `.B ${roff(flags)}`, sentence(summary + words)]
  })
  return [heading, ...entries]
}

/** The text below the options: paragraphs, and examples as they are. */
function textSections(text: string): string[] {
  if (text === '') return []
  const lines: string[] = []
  let section: 'notes' | 'examples' | null = null
  for (const block of text.split(/\n{2,}/)) {
    const [first = '', ...rest] = block.split('\n')
    const examples = /^Examples?:$/.test(first)
    if (examples) {
      lines.push('.SH EXAMPLES', ...verbatim(rest))
      section = 'examples'
      continue
    }
    if (section !== 'notes') lines.push('.SH NOTES')
    else lines.push('.PP')
    section = 'notes'
    // Indented or aligned by hand: as it is.
    if (block.split('\n').some((line) => /^\s|\S {3,}\S/.test(line))) lines.push(...verbatim(block.split('\n')))
    else lines.push(sentence(block.split('\n').join(' ')))
  }
  return lines
}

function verbatim(lines: readonly string[]): string[] {
  return ['.nf', ...lines.map((line) => (line === '' ? '.sp' : roff(line))), '.fi']
}

function sentence(text: string): string {
  return roff(text.charAt(0).toUpperCase() + text.slice(1))
}

function page(lines: readonly string[]): string {
  return `.\\" Made by scripts/man-pages.mjs from the table of commands: change the help instead.\n${lines.join('\n')}\n`
}

/** Text as roff shows it: no line begins a request, and quotes and dashes are those of the keyboard, to be copied. */
function roff(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(
      /[^\x20-\x7e\n]/g,
      (character) => `\\[u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
  return /^[.]/.test(escaped) ? `\\&${escaped}` : escaped
}

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['VSPC_SERVER', 'address of the server for all client commands; default http://127.0.0.1:13371'],
  ['VSPC_TOKEN', 'access token'],
  ['VSPC_TOKEN_FILE', 'file with the access token'],
  ['VSPC_CA_FILE', 'PEM file of the authorities to trust for https'],
  ['VSPC_CERT_FILE', 'PEM file of a client certificate, for servers with mutual TLS; VSPC_KEY_FILE its key'],
  ['VSPC_TOKENS', "the server's file of tokens, for vspc serve and vspc token"],
  ['VSPC_CONFIG', 'configuration file of the server'],
  ['VSPC_ESCAPE', 'escape character of vspc attach'],
  ['VSPC_LOG_LEVEL', 'how much is logged; with debug, failures come with a stack'],
]

const EXITS: readonly (readonly [string, string])[] = [
  ['0', 'done'],
  ['1', 'another failure'],
  ['2', 'usage'],
  ['3', 'no such port, or several'],
  ['4', 'not allowed'],
  ['5', 'busy: held by someone else'],
  ['6', 'the server cannot be reached'],
  ['7', 'the VM is gone or offline'],
  ['124', 'timed out'],
  ['130', 'interrupted'],
]
