import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TerminalFilter } from '../../src/cli/terminal-filter.ts'
import { TerminalModes } from '../../src/cli/terminal-modes.ts'
import { MAX_SEQUENCE } from '../../src/client/ansi.ts'

const latin1 = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))

function filtered(...chunks: Uint8Array[]): string {
  const filter = new TerminalFilter()
  let passed = ''
  for (const chunk of chunks) {
    filter.push(chunk, (bytes) => {
      passed += Buffer.from(bytes).toString('latin1')
    })
  }
  return passed
}

function undo(text: string): string {
  const modes = new TerminalModes()
  modes.push(latin1(text))
  return modes.reset()
}

/** Taken out, with the name it has in xterm's list. */
const TAKEN_OUT = {
  DA1: '\x1b[c',
  'DA1 with 0': '\x1b[0c',
  DA2: '\x1b[>c',
  DA3: '\x1b[=0c',
  DSR: '\x1b[5n',
  CPR: '\x1b[6n',
  DECXCPR: '\x1b[?6n',
  DECREQTPARM: '\x1b[1x',
  DECRQM: '\x1b[?2026$p',
  DECRQPSR: '\x1b[1$w',
  DECRQCRA: '\x1b[1;1;1;1;1;1*y',
  DECELR: "\x1b[1;1'z",
  DECRQLP: "\x1b['|",
  'window title report': '\x1b[21t',
  XTVERSION: '\x1b[>0q',
  'kitty keyboard query': '\x1b[?u',
  XTMODKEYS: '\x1b[>4;2m',
  XTSMGRAPHICS: '\x1b[?1;1;0S',
  'media copy': '\x1b[5i',
  'mouse mode': '\x1b[?1003h',
  'bracketed paste': '\x1b[?2004h',
  'alternate screen': '\x1b[?1049h',
  DECID: '\x1bZ',
  RIS: '\x1bc',
  ENQ: '\x05',
  title: '\x1b]0;evil\x07',
  'title ended by ST': '\x1b]2;evil\x1b\\',
  'colour query': '\x1b]11;?\x1b\\',
  clipboard: '\x1b]52;c;bHM=\x07',
  DECRQSS: '\x1bP$qm\x1b\\',
  XTGETTCAP: '\x1bP+q544e\x1b\\',
  APC: '\x1b_Gi=1;AAAA\x1b\\',
  PM: '\x1b^x\x1b\\',
  SOS: '\x1bXx\x1b\\',
  'CPR by C1 CSI': '\x9b6n',
  'CPR by C1 CSI in UTF-8': '\xc2\x9b6n',
  'DECID by C1': '\x9a',
  'OSC by C1, ended by C1 ST': '\x9d0;evil\x9c',
  'OSC by C1 in UTF-8': '\xc2\x9d0;evil\x07',
}

const PASSES = {
  text: 'login: \r\n\ttabs and \x08 backspaces \x07',
  colours: '\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mtrue\x1b[m',
  'cursor movement': '\x1b[2J\x1b[H\x1b[10;5H\x1b[A\x1b[K\x1b7\x1b8\x1b[s\x1b[u',
  charsets: '\x1b(0lqk\x1b(B',
  'insert mode': '\x1b[4h\x1b[4l',
  'cursor style': '\x1b[3 q',
  'UTF-8 whose bytes look like C1': '\xe2\x9c\x9b \xe4\xbd\x9b \xf0\x9f\x9a\x9b \xc3\x9b',
  'UTF-8 that begins with C2': '\xc2\xa7 \xc2\xb5',
  'other C1 controls': 'a\x85b\x84c',
}

describe('a log on a terminal', () => {
  for (const [name, sequence] of Object.entries(TAKEN_OUT)) {
    test(`takes out ${name}, split anywhere`, () => {
      const whole = latin1(`before${sequence}after`)
      for (let at = 0; at <= whole.length; at++) {
        expect(filtered(whole.subarray(0, at), whole.subarray(at)), `split at ${at}`).toBe('beforeafter')
      }
    })
  }

  for (const [name, text] of Object.entries(PASSES)) {
    test(`leaves ${name} alone, split anywhere`, () => {
      const whole = latin1(text)
      for (let at = 0; at <= whole.length; at++) {
        expect(filtered(whole.subarray(0, at), whole.subarray(at)), `split at ${at}`).toBe(text)
      }
    })
  }

  test('an unfinished string takes one line with it, not the rest of the log', () => {
    expect(filtered(latin1('a\x1b]0;no end\nb\x1bPq\nc'))).toBe('a\nb\nc')
  })

  test('CAN and a new ESC end a sequence', () => {
    expect(filtered(latin1('a\x1b[6\x18nb'))).toBe('anb')
    expect(filtered(latin1('a\x1b[6\x1b[1mb'))).toBe('a\x1b[1mb')
  })

  test('a query with a line feed in the middle is still taken out', () => {
    expect(filtered(latin1('a\x1b[6\nnb'))).toBe('a\nb')
  })

  test('an endless sequence costs no memory and is dropped', () => {
    expect(filtered(latin1(`a\x1b[${'1;'.repeat(MAX_SEQUENCE)}mb`))).toBe('ab')
  })

  test('any bytes in any chunks: the same output, nothing added', () => {
    const piece = fc.oneof(
      fc.constantFrom(...Object.values(TAKEN_OUT), ...Object.values(PASSES), '\x1b', '\x1b[', '\xc2', '\n'),
      fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(200), { maxLength: 5 }), (pieces, cuts) => {
        const whole = latin1(pieces.join(''))
        const at = [0, ...cuts.map((cut) => Math.min(cut, whole.length)).sort((a, b) => a - b), whole.length]
        const chunks = at.slice(1).map((end, index) => whole.subarray(at[index], end))
        const once = filtered(whole)
        expect(filtered(...chunks)).toBe(once)
        expect(once.length).toBeLessThanOrEqual(whole.length)
      }),
    )
  })
})

describe('leaving in the middle of a full-screen program', () => {
  test('a terminal that was not touched gets nothing', () => {
    expect(undo('plain \x1b[1mbold\x1b[0m \x1b[?25l\x1b[?25h\x1b[?1049h\x1b[?1049l\x1b(0x\x1b(B')).toBe('')
  })

  test.each([
    ['the mouse', '\x1b[?1002;1006h', '\x1b[?1002l\x1b[?1006l'],
    ['the alternate screen', '\x1b[?1049h', '\x1b[?1049l'],
    ['a hidden cursor', '\x1b[?25l', '\x1b[?25h'],
    ['bracketed paste', '\x1b[?2004h', '\x1b[?2004l'],
    ['colours', '\x1b[31mred', '\x1b[0m'],
    ['the keypad', '\x1b=', '\x1b>'],
    ['line drawing', '\x1b(0', '\x1b(B'],
    ['a scroll region', '\x1b[2;10r', '\x1b7\x1b[r\x1b8'],
    ['insert mode', '\x1b[4h', '\x1b[4l'],
    ['the cursor style', '\x1b[5 q', '\x1b[0 q'],
  ])('%s is put back', (_name, on, off) => {
    expect(undo(on)).toBe(off)
    expect(undo(`${on}\x1bc`)).toBe('')
  })

  test.each([
    ['vi, until it has ended', '\x1b[?1049h\x1b[H\x1b[Jone\n\n\n', '\x1b[24;1H\x1b[K\x1b[?1049l$ '],
    ['a boot menu, until lines follow', '\x1b[10;1HBoot\x1b[m', 'Loading\r\nDecompressing\r\n'],
    ['one that scrolls its rows', '\x1b[24;0H\r\n\x1b[K', '$ ls\r\nfile\r\n'],
  ])('a full-screen program is known as one: %s', (_name, on, off) => {
    const modes = new TerminalModes()
    modes.push(latin1('$ \x1b[H\x1b[J$ \x1b[1;1Hfile\r\n'))
    expect(modes.fullScreen).toBe(false)
    modes.push(latin1(on))
    expect(modes.fullScreen).toBe(true)
    modes.push(latin1(off))
    expect(modes.fullScreen).toBe(false)
  })

  test('it is put back once', () => {
    const modes = new TerminalModes()
    modes.push(latin1('\x1b[?25l'))
    expect(modes.reset()).toBe('\x1b[?25h')
    expect(modes.reset()).toBe('')
  })
})
