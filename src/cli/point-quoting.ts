/** Text as a literal of other languages, so that it reads back exactly as it is, whatever it holds. Pure. */

/** One word for a POSIX shell: within single quotes nothing but the quote itself means anything. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** A string for PowerShell, which takes typographic quotes for quotes, too; doubled, each stands for itself. */
export function powershellString(text: string): string {
  return `'${text.replace(/['\u2018-\u201b]/g, '$&$&')}'`
}

/**
 * A scalar for YAML as Ansible reads it: JSON's strings are YAML's, in 1.1 and 1.2, once what YAML does not count as
 * printable is escaped. What Ansible would take for a template is marked as none.
 */
export function yamlString(text: string): string {
  const quoted = JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
  return /\{[{%#]/.test(text) ? `!unsafe ${quoted}` : quoted
}

/** A name for govc, which takes names for patterns of Go's path.Match. */
export function govcName(text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&')
}
