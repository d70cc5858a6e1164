/** Questions. Each is a modal <dialog>: Escape is "no", and the browser keeps the focus inside. */
import { button, make } from './dom.ts'
import { asOneLine, type Paste } from './paste.ts'
import { SYSRQ, type SysRq } from './sysrq.ts'
import { count } from './words.ts'

export interface Choice<Value> {
  readonly label: string
  readonly value: Value
  readonly kind?: 'danger' | 'main'
}

/** Resolves with what was chosen, or null. The first choice has the focus. */
export function ask<Value>(
  title: string,
  body: readonly (Node | string)[],
  choices: readonly Choice<Value>[],
  refusal = 'Cancel',
): Promise<Value | null> {
  return new Promise((resolve) => {
    const before = document.activeElement
    let chosen: Value | null = null
    const dialog = make('dialog', { attributes: { 'aria-labelledby': 'dialog-title' } })
    const buttons = choices.map(({ label, value, kind }) =>
      button(label, kind ?? '', () => {
        chosen = value
        dialog.close()
      }),
    )
    const no = button(refusal, '', () => dialog.close())
    dialog.append(
      make('h2', { id: 'dialog-title' }, title),
      ...body.map((part) => (typeof part === 'string' ? make('p', {}, part) : part)),
      make('div', { className: 'buttons' }, no, ...buttons),
    )
    dialog.addEventListener('close', () => {
      dialog.remove()
      if (before instanceof HTMLElement) before.focus()
      resolve(chosen)
    })
    // A click beside it.
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close()
    })
    document.body.append(dialog)
    dialog.showModal()
    const focused = choices.some(({ kind }) => kind === 'danger') ? no : buttons[0]
    ;(focused ?? no).focus()
  })
}

/** The text to paste, as agreed to; null = nothing. */
export function askPaste(paste: Paste, bracketed: boolean): Promise<string | null> {
  const { text, lines, removed } = paste
  const notes = [
    bracketed
      ? 'The guest marks pasted text, so its shell should wait for Enter.'
      : 'Each line runs as soon as it arrives.',
    removed > 0 ? `${count(removed, 'control character')} left out.` : '',
  ]
  const preview = make('textarea', {
    readOnly: true,
    value: text,
    rows: Math.min(12, lines + 1),
    attributes: { 'aria-label': 'Text to paste', spellcheck: 'false' },
  })
  const choices: Choice<string>[] = [
    { label: lines > 1 ? `Paste ${lines} lines` : 'Paste', value: text, kind: bracketed ? 'main' : 'danger' },
  ]
  if (text.includes('\n'))
    choices.push({ label: lines > 1 ? 'Paste as one line' : 'Without Enter', value: asOneLine(text) })
  return ask(lines > 1 ? `Paste ${lines} lines?` : 'Paste this?', [notes.filter(Boolean).join(' '), preview], choices)
}

/** A line of text; null = nothing is to be done. @param needed an empty one is nothing. */
export async function askWords(
  title: string,
  label: string,
  yes: string,
  { most, needed = true, kind = 'main' }: { most: number; needed?: boolean; kind?: 'main' | 'danger' },
): Promise<string | null> {
  const input = make('input', { type: 'text', maxLength: most, autocomplete: 'off', className: 'words' })
  const field = make('label', { className: 'field' }, `${label} `, input)
  const asked = ask(title, [field], [{ label: yes, value: true, kind }])
  agreeOnEnter(input)
  if ((await asked) !== true) return null
  const text = input.value.trim()
  return needed && text === '' ? null : text
}

/** Of a dialog's only field: it has the focus, and Enter in it is the last button. */
export function agreeOnEnter(input: HTMLInputElement): void {
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.isComposing) return
    // What gets the focus when the dialog closes is not what it was pressed for.
    event.preventDefault()
    input.closest('dialog')?.querySelector<HTMLElement>('.buttons button:last-child')?.click()
  })
  input.focus()
}

/** A token; null = not now. @param problem with the one before. */
export async function askToken(problem: string): Promise<string | null> {
  const input = make('input', { type: 'password', autocomplete: 'off', className: 'words', maxLength: 200 })
  const field = make('label', { className: 'field' }, 'Token ', input)
  const why = make('p', { className: 'bad', attributes: { role: 'alert' } }, problem)
  const about =
    'This server lets in who shows a token: “vspc token add” makes one. It is kept in this tab alone, until that is closed.'
  const asked = ask(
    'Log in',
    [about, ...(problem === '' ? [] : [why]), field],
    [{ label: 'Log in', value: true, kind: 'main' }],
  )
  agreeOnEnter(input)
  return (await asked) === true ? input.value : null
}

/** A reason, maybe empty; null = not. */
export function askKick(who: string): Promise<string | null> {
  return askWords(`Put ${who} out?`, 'Reason, told to all (may be empty)', 'Put out', {
    most: 200,
    needed: false,
    kind: 'danger',
  })
}

export async function askBreak(name: string): Promise<boolean> {
  const text =
    'A BREAK interrupts what some consoles do: firmware stops booting, a Sun goes to its monitor, a getty changes its speed.'
  return (
    (await ask(`Send a BREAK to ${name}?`, [text], [{ label: 'Send BREAK', value: true, kind: 'danger' }])) ?? false
  )
}

/** The key to send after a BREAK. */
export async function askSysRq(name: string): Promise<SysRq | null> {
  const list = make('div', { className: 'sysrq' })
  const picked = new Promise<SysRq | null>((resolve) => {
    for (const one of SYSRQ) {
      const row = button('', one.harm ? 'danger' : '', () => {
        resolve(one)
        list.closest('dialog')?.close()
      })
      row.append(make('kbd', {}, one.key), make('span', {}, one.does))
      list.append(row)
    }
    void ask(
      `SysRq for ${name}`,
      ['BREAK, then a key: what a Linux kernel does with it is in its hands.', list],
      [],
    ).then(() => resolve(null))
  })
  const one = await picked
  if (one === null || !one.harm) return one
  const sure = await ask(
    `${one.does}?`,
    [`This goes to the kernel of ${name}, now.`],
    [{ label: `Send SysRq ${one.key}`, value: true, kind: 'danger' }],
  )
  return sure === true ? one : null
}

/** Opens a link, or asks first where it is not plain where it leads. */
export async function followLink(uri: string, hidden: boolean): Promise<void> {
  const url = URL.canParse(uri) ? new URL(uri) : null
  const shown = make('code', { className: 'uri' }, uri)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    const copy = await ask(
      'This is no web link',
      ['It is not opened from here:', shown],
      [{ label: 'Copy it', value: true }],
    )
    if (copy === true) await copyText(uri)
    return
  }
  const open =
    !hidden ||
    (await ask(
      'Open this link?',
      ['What was printed does not show where it leads:', shown],
      [{ label: 'Open', value: true, kind: 'main' }],
    ))
  if (open === true) window.open(url.href, '_blank', 'noopener,noreferrer')
}

/** @returns false when the browser does not let us. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Plain HTTP elsewhere than on this machine, or no permission: the old way may still work.
    const area = make('textarea', { value: text, className: 'offscreen' })
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    return done
  }
}

export function showHelp(): void {
  const rows = HELP.map(([keys, does]) =>
    make('tr', {}, make('th', { scope: 'row' }, make('kbd', {}, keys)), make('td', {}, does)),
  )
  void ask('Keys', [make('table', { className: 'keys' }, make('tbody', {}, ...rows))], [], 'Close')
}

const HELP = [
  ['/', 'search the list'],
  ['↑ ↓', 'move in the list'],
  ['Enter', 'open a console'],
  ['?', 'this'],
  ['Ctrl+Shift+Enter', 'in a console: start or stop typing'],
  ['Ctrl+Shift+L', 'leave the console for the list'],
  ['Ctrl+Shift+F', 'find in the output'],
  ['Ctrl+Shift+C', 'copy the selection'],
  ['Ctrl+Shift+V', 'paste'],
  ['Shift+PageUp', 'scroll back'],
  ['PageUp PageDown', 'in history: move, past the ends of a part, too'],
  ['Escape', 'in history: back to live'],
] as const
