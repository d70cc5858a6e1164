/** What takes something out of a console. Each resolves with what is to be told. */
import { saveLog } from './api.ts'
import { copyText } from './dialogs.ts'
import type { Terminal } from './terminal.ts'

/** What is selected, else what is visible. */
export async function copyFrom(terminal: Terminal): Promise<string> {
  const selected = terminal.selection()
  const done = await copyText(selected || terminal.visibleText())
  return !done ? 'the browser does not let us copy' : selected ? 'selection copied' : 'screen copied'
}

/** The whole log. */
export async function saveFrom(id: string): Promise<string> {
  try {
    await saveLog(id)
    return 'the log is saved'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
