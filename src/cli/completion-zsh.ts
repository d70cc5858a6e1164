import { allNodes, type CommandNode, type Offer, type OptionNode } from './command-tree.ts'

/** A script for zsh, as a function of its completion system: one function for each command, made of _arguments. */
export function zshCompletion(tree: CommandNode): string {
  return `#compdef ${tree.name}
# Completion for zsh, made by 'vspc completion zsh'.

_${tree.name}_ports() {
  local -a names
  names=(\${(f)"$(_call_program ports ${tree.name} completion ports 2>/dev/null)"})
  compadd -a names
}

${allNodes(tree).map(nodeFunction).join('\n')}
if [[ $funcstack[1] == _${tree.name} ]]; then
  _${tree.name} "$@"
else
  compdef _${tree.name} ${tree.name}
fi
`
}

function nodeFunction(node: CommandNode): string {
  const specs = node.options.map(optionSpec)
  if (node.children.length === 0) {
    const positional = node.arguments.map(({ name, offer, variadic, required }, index) => {
      const place = variadic ? '*' : String(index + 1)
      return quoted(`${place}${required || variadic ? ':' : '::'}${plain(name)}:${action(offer)}`)
    })
    return `${functionName(node)}() {\n  _arguments -S ${[...specs, ...positional].join(' \\\n    ')}\n}\n`
  }
  const names = node.children.flatMap((child) =>
    [child.name, ...child.aliases].map((name) => `    ${quoted(`${name}:${plain(child.summary)}`)}`),
  )
  const cases = node.children.map(
    (child) => `    ${[child.name, ...child.aliases].join(' | ')}) ${functionName(child)} ;;`,
  )
  return `${functionName(node)}() {
  local curcontext=$curcontext state line ret=1
  local -a commands
  commands=(
${names.join('\n')}
  )
  _arguments -C -S ${[...specs, "'1: :->command'", "'*:: :->rest'"].join(' \\\n    ')} && ret=0
  case $state in
  command) _describe -t commands command commands && ret=0 ;;
  rest)
    case $words[1] in
${cases.join('\n')}
    esac
    ret=$?
    ;;
  esac
  return ret
}
`
}

/** `*`: any option may be there again. `=`: a value in the next word or behind `=`; `=-`: behind `=` only. */
function optionSpec({ names, summary, value, offer, flags }: OptionNode): string {
  const what = /[<[]=?([^>\].]+)/.exec(flags)?.[1] ?? 'value'
  const behind = { none: '', required: `:${plain(what)}:${action(offer)}`, equals: `::${plain(what)}:${action(offer)}` }
  const text = quoted(`[${plain(summary)}]${behind[value]}`)
  const shown = names.map((name) => {
    if (value === 'none') return name
    return name.startsWith('--') ? `${name}${value === 'equals' ? '=-' : '='}` : `${name}+`
  })
  return shown.length === 1 ? `'*${shown[0]}'${text}` : `'*'{${shown.join(',')}}${text}`
}

function action(offer: Offer): string {
  if (typeof offer !== 'string') return `(${offer.words.map(plain).join(' ')})`
  return { ports: '_vspc_ports', files: '_files', directories: '_files -/', nothing: ' ' }[offer]
}

function functionName({ path }: CommandNode): string {
  return `_${path.replaceAll(' ', '__')}`
}

/** Colons and brackets mean something in a specification. */
function plain(text: string): string {
  return text.replace(/[\\:[\]]/g, '\\$&')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
