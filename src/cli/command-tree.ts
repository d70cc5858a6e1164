/** The command line as data, read off Commander: for shell completion and the manual. */
import type { Argument, Command, Option } from 'commander'

/** What a shell can offer for a value: words, names of ports, files, directories, or nothing. */
export type Offer = { readonly words: readonly string[] } | 'ports' | 'files' | 'directories' | 'nothing'

export interface OptionNode {
  /** As in the help: `-o, --print <what>`. */
  readonly flags: string
  /** `-o` and `--print`, whichever there are. */
  readonly names: readonly string[]
  readonly summary: string
  /** `equals`: only behind `=`, and may be left out. */
  readonly value: 'none' | 'required' | 'equals'
  readonly offer: Offer
}

export interface ArgumentNode {
  readonly name: string
  readonly summary: string
  readonly required: boolean
  readonly variadic: boolean
  readonly offer: Offer
}

export interface CommandNode {
  /** From the program on: `vspc relay status`. */
  readonly path: string
  readonly name: string
  readonly aliases: readonly string[]
  readonly summary: string
  readonly description: string
  /** What stands behind the path. */
  readonly usage: string
  readonly options: readonly OptionNode[]
  readonly arguments: readonly ArgumentNode[]
  /** Explanations and examples below the options. */
  readonly text: string
  readonly children: readonly CommandNode[]
}

/** @param command with everything below it loaded. */
export function commandTree(command: Command, parents = ''): CommandNode {
  const path = parents === '' ? command.name() : `${parents} ${command.name()}`
  const help = command.createHelp()
  return {
    path,
    name: command.name(),
    aliases: command.aliases(),
    summary: command.summary() || command.description(),
    description: command.description(),
    usage: command.usage(),
    options: help.visibleOptions(command).map(optionNode),
    arguments: command.registeredArguments.map(argumentNode),
    text: textBelow(command),
    children: command.commands.map((child) => commandTree(child, path)),
  }
}

/** A command and all below it. */
export function allNodes(node: CommandNode): CommandNode[] {
  return [node, ...node.children.flatMap(allNodes)]
}

/** Its path, and those by its aliases. */
export function pathsOf({ path, name, aliases }: CommandNode): string[] {
  const parent = path.slice(0, path.length - name.length)
  return [name, ...aliases].map((each) => parent + each)
}

function optionNode(option: Option): OptionNode {
  const value = option.required ? 'required' : option.optional ? 'equals' : 'none'
  return {
    flags: option.flags,
    names: [option.short, option.long].filter((name) => name !== undefined),
    summary: option.description,
    value,
    offer: value === 'none' ? 'nothing' : offerOf(option.argChoices, valueName(option.flags)),
  }
}

function argumentNode(argument: Argument): ArgumentNode {
  return {
    name: argument.name(),
    summary: argument.description,
    required: argument.required,
    variadic: argument.variadic,
    offer: offerOf(argument.argChoices, argument.name()),
  }
}

function valueName(flags: string): string {
  return /[<[]=?([^>\].]+)/.exec(flags)?.[1] ?? ''
}

/** Placeholders mean the same in every command. */
function offerOf(choices: readonly string[] | undefined, name: string): Offer {
  if (choices) return { words: choices }
  if (name === 'port') return 'ports'
  if (name === 'file') return 'files'
  return name === 'dir' ? 'directories' : 'nothing'
}

/** What addHelpText has added: it is told only by showing the help. */
function textBelow(command: Command): string {
  let whole = ''
  const output = command.configureOutput()
  command.configureOutput({
    writeOut: (text) => {
      whole += text
    },
    getOutHelpWidth: () => 80,
    getOutHasColors: () => false,
  })
  const plain = command.helpInformation()
  command.outputHelp()
  command.configureOutput(output)
  return whole.startsWith(plain) ? whole.slice(plain.length).replace(/^\n+|\s+$/g, '') : ''
}
