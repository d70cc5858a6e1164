import { type ArgumentNode, allNodes, type CommandNode, type Offer, type OptionNode, pathsOf } from './command-tree.ts'

/** A script for fish 3: rules, and a function that says at which command and argument the cursor stands. */
export function fishCompletion(tree: CommandNode): string {
  const nodes = allNodes(tree)
  const commands = nodes.slice(1).flatMap(pathsOf)
  const takers = nodes.flatMap((node) =>
    node.options
      .filter(({ value }) => value === 'required')
      .flatMap(({ names }) => pathsOf(node).flatMap((path) => names.map((name) => `${path} ${name}`))),
  )
  return `# Completion for fish, made by 'vspc completion fish'.

set -g __vspc_commands ${commands.map(quoted).join(' ')}
set -g __vspc_takers ${takers.map(quoted).join(' ')}

# Is the cursor at this command and, if given, at this argument of it, or behind it ("1+")?
function __vspc_at
    set -l path ${tree.name}
    set -l index 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- "$path $word" $__vspc_takers; and set skip 1
        else if contains -- "$path $word" $__vspc_commands
            set path "$path $word"
        else
            set index (math $index + 1)
        end
    end
    test "$path" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    if string match -q -- '*+' $argv[2]
        test $index -ge (string trim -c + -- $argv[2])
    else
        test $index = $argv[2]
    end
end

complete -c ${tree.name} -f
${nodes.flatMap((node) => pathsOf(node).flatMap((path) => rules(tree.name, node, path))).join('\n')}
`
}

function rules(program: string, node: CommandNode, path: string): string[] {
  const at = (index: string) => `complete -c ${program} -n ${quoted(`__vspc_at ${quoted(path)}${index}`)}`
  return [
    ...node.children.flatMap((child) =>
      [child.name, ...child.aliases].map((name) => `${at('')} -a ${name} -d ${quoted(child.summary)}`),
    ),
    ...node.options.map((option) => `${at('')} ${optionRule(option)}`),
    ...node.arguments.flatMap((argument, index) => argumentRule(argument, index, at)),
  ]
}

function optionRule({ names, summary, value, offer }: OptionNode): string {
  const named = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`))
  const taken = value === 'required' ? [valueRule(offer)] : []
  return [...named, ...taken, `-d ${quoted(summary)}`].join(' ')
}

/** -r: there has to be a value; -x: and no file. */
function valueRule(offer: Offer): string {
  const choices = offerText(offer)
  return offer === 'files' ? '-r -F' : choices === null ? '-x' : `-x -a ${quoted(choices)}`
}

function argumentRule({ offer, variadic }: ArgumentNode, index: number, at: (index: string) => string): string[] {
  const rule = at(` ${index}${variadic ? '+' : ''}`)
  const choices = offerText(offer)
  if (offer === 'files') return [`${rule} -F`]
  return choices === null ? [] : [`${rule} -a ${quoted(choices)}`]
}

function offerText(offer: Offer): string | null {
  if (typeof offer !== 'string') return offer.words.join(' ')
  if (offer === 'ports') return '(vspc completion ports 2>/dev/null)'
  return offer === 'directories' ? '(__fish_complete_directories)' : null
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
