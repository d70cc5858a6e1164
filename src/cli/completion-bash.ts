import { allNodes, type CommandNode, type Offer, pathsOf } from './command-tree.ts'

/**
 * A script for bash 3.2 and later that needs nothing else: bash-completion need not be there.
 *
 * Plan: tables as `case` (what a command has, what an option takes), and one function that walks over the words.
 */
export function bashCompletion(tree: CommandNode): string {
  const nodes = allNodes(tree)
  return `# Completion for bash, made by 'vspc completion bash'.

_vspc_command() {
  subs= opts=
  case $1 in
${nodes.map(commandCase).join('\n')}
  *) return 1 ;;
  esac
}

# How the value of an option is completed; fails for one without a value. Optional values only count behind "=".
_vspc_value() {
  offer=nothing
  case "$1 $2" in
${nodes.flatMap(valueCases).join('\n')}
  *) return 1 ;;
  esac
}

_vspc_argument() {
  offer=nothing
  case "$1 $2" in
${nodes.flatMap(argumentCases).join('\n')}
  esac
}

_vspc_offer() {
  local name
  case $1 in
  ports)
    while IFS= read -r name; do
      [[ $name == "$word"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done < <("\${words[0]}" completion ports "\${server[@]}" 2>/dev/null)
    ;;
  files | directories)
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do COMPREPLY+=("$name"); done < <(
      if [[ $1 == files ]]; then compgen -f -- "$word"; else compgen -d -- "$word"; fi
    )
    ;;
  words:*) COMPREPLY+=($(compgen -W "\${1#words:}" -- "$word")) ;;
  esac
}

_vspc() {
  local words=() server=() line=$COMP_LINE glue i word path=${tree.name} pending= index=0 plain= subs opts offer
  # Bash cuts words at = and :, put them together again where the line has no space.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    glue=
    [[ $i -gt 0 && $line != [[:space:]]* ]] && glue=1
    line=\${line#"\${line%%[![:space:]]*}"}
    line=\${line:\${#word}}
    if [[ $glue ]]; then words[\${#words[@]}-1]+=$word; else words+=("$word"); fi
  done
  local last=$((\${#words[@]} - 1))
  for ((i = 1; i < last; i++)); do
    word=\${words[i]}
    if [[ $pending ]]; then
      case $pending in --server | --token-file | --ca-file) server+=("$pending=$word") ;; esac
      pending=
    elif [[ $plain ]]; then
      index=$((index + 1))
    else
      case $word in
      --) plain=1 ;;
      --server=* | --token-file=* | --ca-file=*) server+=("$word") ;;
      -*=*) ;;
      -*) _vspc_value "$path" "$word" && [[ $offer != equals:* ]] && pending=$word ;;
      *) if _vspc_command "$path $word"; then path="$path $word"; else index=$((index + 1)); fi ;;
      esac
    fi
  done
  _vspc_command "$path"
  word=\${words[last]}
  local cut=\${word%"\${word##*[=:]}"}
  COMPREPLY=()
  if [[ $pending ]]; then
    _vspc_value "$path" "$pending" && _vspc_offer "$offer"
  elif [[ ! $plain && $word == --*=* ]]; then
    local name=\${word%%=*}
    word=\${word#*=}
    cut=\${word%"\${word##*[=:]}"}
    _vspc_value "$path" "$name" && _vspc_offer "\${offer#equals:}"
  elif [[ ! $plain && $word == -* ]]; then
    COMPREPLY=($(compgen -W "$opts" -- "$word"))
  elif [[ $subs ]]; then
    COMPREPLY=($(compgen -W "$subs" -- "$word"))
  else
    _vspc_argument "$path" "$index" && _vspc_offer "$offer"
  fi
  # Readline replaces only what stands behind the last = or :.
  [[ $cut && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("\${COMPREPLY[@]#"$cut"}")
  return 0
}

complete -F _vspc ${tree.name}
`
}

function commandCase(node: CommandNode): string {
  const subs = node.children.flatMap(({ name, aliases }) => [name, ...aliases])
  const opts = node.options.flatMap(({ names }) => names)
  return `  ${either(pathsOf(node))}) subs='${subs.join(' ')}' opts='${opts.join(' ')}' ;;`
}

function valueCases(node: CommandNode): string[] {
  return node.options
    .filter(({ value }) => value !== 'none')
    .map(({ names, value, offer }) => {
      const keys = pathsOf(node).flatMap((path) => names.map((name) => `${path} ${name}`))
      return `  ${either(keys)}) offer='${value === 'equals' ? 'equals:' : ''}${offerText(offer)}' ;;`
    })
}

function argumentCases(node: CommandNode): string[] {
  return node.arguments.map(({ offer, variadic }, index) => {
    const keys = pathsOf(node).map((path) => (variadic ? `'${path} '*` : `'${path} ${index}'`))
    return `  ${keys.join(' | ')}) offer='${offerText(offer)}' ;;`
  })
}

function either(keys: readonly string[]): string {
  return keys.map((key) => `'${key}'`).join(' | ')
}

function offerText(offer: Offer): string {
  return typeof offer === 'string' ? offer : `words:${offer.words.join(' ')}`
}
