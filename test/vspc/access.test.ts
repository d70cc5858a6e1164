import { describe, expect, test } from 'vitest'
import { decideMode, type WriterPolicy } from '../../src/vspc/access.ts'
import type { ConsoleMode } from '../../src/vspc/index.ts'

const MODES: ConsoleMode[] = ['read', 'write', 'exclusive']

/** [policy, wanted, held by the other, granted without force]. */
const TABLE: [WriterPolicy, ConsoleMode, ConsoleMode, boolean][] = [
  ['shared', 'read', 'read', true],
  ['shared', 'read', 'write', true],
  ['shared', 'read', 'exclusive', true],
  ['shared', 'write', 'read', true],
  ['shared', 'write', 'write', true],
  ['shared', 'write', 'exclusive', false],
  ['shared', 'exclusive', 'read', true],
  ['shared', 'exclusive', 'write', false],
  ['shared', 'exclusive', 'exclusive', false],
  ['single', 'read', 'read', true],
  ['single', 'read', 'write', true],
  ['single', 'read', 'exclusive', true],
  ['single', 'write', 'read', true],
  ['single', 'write', 'write', false],
  ['single', 'write', 'exclusive', false],
  ['single', 'exclusive', 'read', true],
  ['single', 'exclusive', 'write', false],
  ['single', 'exclusive', 'exclusive', false],
]

describe('decideMode', () => {
  test('the table is whole', () => {
    expect(new Set(TABLE.map((row) => row.slice(0, 3).join())).size).toBe(2 * MODES.length * MODES.length)
  })

  test.each(TABLE)('%s: %s while another has %s: %s', (policy, wanted, held, granted) => {
    const other = { mode: held }
    expect(decideMode(wanted, false, [other], policy)).toEqual(
      granted ? { granted: true, demote: [] } : { granted: false, busy: [other] },
    )
    // Force always wins, and makes readers of those in the way, of nobody else.
    expect(decideMode(wanted, true, [other], policy)).toEqual({ granted: true, demote: granted ? [] : [other] })
  })

  test.each(['shared', 'single'] as const)('%s: alone, every mode is granted', (policy) => {
    for (const mode of MODES) expect(decideMode(mode, false, [], policy)).toEqual({ granted: true, demote: [] })
  })

  test('only those in the way are named, in their order', () => {
    const others = [{ mode: 'write' }, { mode: 'read' }, { mode: 'write' }] as const
    expect(decideMode('exclusive', false, others, 'shared')).toEqual({ granted: false, busy: [others[0], others[2]] })
    expect(decideMode('exclusive', true, others, 'shared')).toEqual({ granted: true, demote: [others[0], others[2]] })
    expect(decideMode('write', false, others, 'shared')).toEqual({ granted: true, demote: [] })
  })

  test('however modes change, there is never a writer beside an exclusive one, nor two where policy allows one', () => {
    // Every sequence of three consoles asking for every mode, with and without force.
    for (const policy of ['shared', 'single'] as const) {
      for (let code = 0; code < (3 * 3 * 2) ** 3; code++) {
        const consoles: { mode: ConsoleMode }[] = [{ mode: 'read' }, { mode: 'read' }, { mode: 'read' }]
        for (let step = 0, rest = code; step < 3; step++, rest = Math.floor(rest / 18)) {
          const console = consoles[rest % 3] as { mode: ConsoleMode }
          const mode = MODES[Math.floor(rest / 3) % 3] as ConsoleMode
          const decision = decideMode(
            mode,
            Math.floor(rest / 9) % 2 === 1,
            consoles.filter((one) => one !== console),
            policy,
          )
          if (!decision.granted) continue
          for (const demoted of decision.demote) demoted.mode = 'read'
          console.mode = mode
        }
        const writers = consoles.filter(({ mode }) => mode !== 'read')
        const alone = policy === 'single' || writers.some(({ mode }) => mode === 'exclusive')
        expect(alone ? writers.length : 0).toBeLessThanOrEqual(1)
      }
    }
  })
})
