/**
 * The thread in which screens are drawn. It only computes: bytes in, text out. Whatever it is made to do by what a VM
 * has printed, the server's own thread goes on, and ends this one when it takes too long.
 */
import { parentPort } from 'node:worker_threads'
import serializeAddon from '@xterm/addon-serialize'
import headless from '@xterm/headless'
import type { DrawnScreen, ScreenJob } from './screen.ts'
import { guardTerminal } from './terminal-guard.ts'

/** Written to the terminal at a time, at most. */
const PIECE_BYTES = 65_536
/** Pieces of which it is known in which line they begin: as many as give a fine answer, and cost little. */
const PIECES = 256
const MIN_PIECE_BYTES = 512
const DECTCEM = 25

async function draw({ id, bytes, cols, rows, scrollback, mark }: ScreenJob): Promise<DrawnScreen> {
  const terminal = new headless.Terminal({ cols, rows, scrollback, allowProposedApi: true, logLevel: 'off' })
  try {
    guardTerminal(terminal)
    const serializer = new serializeAddon.SerializeAddon()
    terminal.loadAddon(serializer)
    const cursor = watchCursor(terminal)
    const cuts = cutsOf(bytes.length, mark)
    // Of a full-screen program there are no lines to come back to: then there is none.
    const markers = [terminal.registerMarker(0)]
    await new Promise<void>((resolve) => {
      // Called between two pieces. To wait for each of them would take longer than to draw them.
      const drawn = () => markers.push(terminal.registerMarker(0))
      for (const [at, from] of cuts.entries()) terminal.write(bytes.subarray(from, cuts[at + 1]), drawn)
      terminal.write('', resolve)
    })
    const line = (at: number) => markers[at]?.line ?? -1
    const first = cuts.findIndex((_cut, at) => line(at) >= 0)
    const marked = line(cuts.indexOf(mark ?? -1))
    return {
      id,
      screen: serializer.serialize() + (cursor.visible ? '' : '\x1b[?25l'),
      top: cuts.at(first) ?? 0,
      markLine: mark === undefined || marked < 0 ? null : marked,
    }
  } finally {
    terminal.dispose()
  }
}

/** Where pieces begin: evenly, and at the mark. */
function cutsOf(length: number, mark: number | undefined): number[] {
  const step = Math.min(PIECE_BYTES, Math.max(MIN_PIECE_BYTES, Math.ceil(length / PIECES)))
  const cuts = new Set(mark === undefined || mark >= length ? [] : [mark])
  for (let at = 0; at < length; at += step) cuts.add(at)
  return [...cuts].sort((a, b) => a - b)
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
