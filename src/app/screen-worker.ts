/**
 * The thread in which screens are drawn. It only computes: bytes in, text out. Whatever it is made to do by what a VM
 * has printed, the server's own thread goes on, and ends this one when it takes too long.
 */
import { parentPort } from 'node:worker_threads'
import serializeAddon from '@xterm/addon-serialize'
import headless from '@xterm/headless'
import type { DrawnScreen, ScreenJob } from './screen.ts'
import { guardTerminal } from './terminal-guard.ts'

/** Written to the terminal at a time. */
const PIECE_BYTES = 65_536
const DECTCEM = 25

async function draw({ id, bytes, cols, rows, scrollback }: ScreenJob): Promise<DrawnScreen> {
  const terminal = new headless.Terminal({ cols, rows, scrollback, allowProposedApi: true, logLevel: 'off' })
  try {
    guardTerminal(terminal)
    const serializer = new serializeAddon.SerializeAddon()
    terminal.loadAddon(serializer)
    const cursor = watchCursor(terminal)
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      await new Promise<void>((resolve) => terminal.write(bytes.subarray(at, at + PIECE_BYTES), resolve))
    }
    return { id, screen: serializer.serialize() + (cursor.visible ? '' : '\x1b[?25l') }
  } finally {
    terminal.dispose()
  }
}

/** DECTCEM is the one mode of a screen that the serializer leaves out, and the terminal does not tell. */
function watchCursor({ parser }: headless.Terminal): { visible: boolean } {
  const cursor = { visible: true }
  const become = (visible: boolean) => {
    cursor.visible = visible
    // The terminal does what it does.
    return false
  }
  const named = (params: (number | number[])[]) => params.includes(DECTCEM)
  parser.registerCsiHandler({ prefix: '?', final: 'h' }, (params) => named(params) && become(true))
  parser.registerCsiHandler({ prefix: '?', final: 'l' }, (params) => named(params) && become(false))
  parser.registerCsiHandler({ intermediates: '!', final: 'p' }, () => become(true))
  parser.registerEscHandler({ final: 'c' }, () => become(true))
  return cursor
}

parentPort?.on('message', (job: ScreenJob) => {
  void draw(job).then((drawn) => parentPort?.postMessage(drawn))
})
