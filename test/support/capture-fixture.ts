import { type CaptureRecord, formatCaptureHeader, formatCaptureRecord } from '../../src/capture/index.ts'
import { type Dialogue, timeline } from './pages.ts'

/** A dialogue as a capture file: what a recorder would have written had it stood between both sides. */
export function captureOf(dialogue: Dialogue): string {
  const header = formatCaptureHeader({
    source: `synthetic, made from test/fixtures/vmotion/*.md: ${dialogue.title}, partly reconstructed; its date is made up`,
    started: '1970-01-01T00:00:00.000Z',
  })
  const lines = timeline(dialogue).map((entry): CaptureRecord => {
    const { t } = entry
    const { stream } = entry.connection
    if (entry.event === 'step') return { kind: 'data', t, stream, from: entry.step.from, bytes: entry.step.bytes }
    if (entry.event === 'fin') return { kind: 'close', t, stream }
    return { kind: 'open', t, stream, peer: entry.connection.name }
  })
  return header + lines.map(formatCaptureRecord).join('')
}
