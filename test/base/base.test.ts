import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CODES,
  cleanText,
  errorMessage,
  formatHex,
  LIMITS,
  type LimitName,
  LocalProtocolError,
  limitsWith,
  ManualClock,
  nearest,
  parseHex,
  RemoteProtocolError,
  systemClock,
  VspcError,
} from '../../src/base/index.ts'

describe('ManualClock', () => {
  test('runs what falls due in order of time, then of asking, with now() at the time of each', () => {
    const clock = new ManualClock()
    const log: string[] = []
    clock.after(20, () => log.push(`b ${clock.now()}`))
    clock.after(10, () => log.push(`a ${clock.now()}`))
    clock.after(20, () => log.push(`c ${clock.now()}`))
    clock.after(21, () => log.push('late'))
    clock.advance(20)
    expect(log).toEqual(['a 10', 'b 20', 'c 20'])
    expect(clock.now()).toBe(20)
    expect(clock.pending).toBe(1)
  })

  test('a timer set by a timer runs in the same advance when it falls due in it', () => {
    const clock = new ManualClock()
    const log: number[] = []
    const again = (): void => {
      log.push(clock.now())
      clock.after(10, again)
    }
    clock.after(10, again)
    clock.advance(35)
    expect(log).toEqual([10, 20, 30])
  })

  test('a cancelled timer never runs; cancelling twice or after it ran does nothing', () => {
    const clock = new ManualClock()
    let ran = 0
    const timer = clock.after(5, () => ran++)
    const other = clock.after(5, () => timer.cancel())
    other.cancel()
    clock.advance(5)
    timer.cancel()
    other.cancel()
    expect(ran).toBe(1)
    const doomed = clock.after(5, () => ran++)
    clock.after(1, () => doomed.cancel())
    clock.advance(10)
    expect(ran).toBe(1)
    expect(clock.pending).toBe(0)
  })

  test('wall time moves with it', () => {
    const clock = new ManualClock()
    const before = clock.wall()
    clock.advance(1500)
    expect(clock.wall() - before).toBe(1500)
  })
})

describe('systemClock', () => {
  test('now() never runs backwards, and a cancelled timer does not run', async () => {
    const before = systemClock.now()
    let ran = false
    systemClock.after(0, () => (ran = true)).cancel()
    await new Promise<void>((done) => systemClock.after(1, done))
    expect(ran).toBe(false)
    expect(systemClock.now()).toBeGreaterThanOrEqual(before)
  })
})

describe('cleanText: what a VM is called must not drive a terminal [C25]', () => {
  test('C0, DEL and C1 controls are gone, tabs and line ends too', () => {
    const all = String.fromCharCode(
      ...Array.from({ length: 0x20 }, (_, i) => i),
      0x7f,
      ...Array.from({ length: 32 }, (_, i) => 0x80 + i),
    )
    expect(cleanText(`a${all}b`)).toBe('ab')
    expect(cleanText('\x1b[2J\x1b]0;owned\x07vm')).toBe('[2J]0;ownedvm')
    expect(cleanText('vm\u009b31m')).toBe('vm31m')
  })

  test('bidirectional overrides, isolates, zero-width characters and line separators are gone', () => {
    for (const code of [0x200b, 0x200e, 0x200f, 0x202a, 0x202e, 0x2028, 0x2029, 0x2066, 0x2069, 0xfeff]) {
      expect(cleanText(`a${String.fromCharCode(code)}b`), code.toString(16)).toBe('ab')
    }
  })

  test('UTF-8 is decoded; what is broken becomes U+FFFD, never an exception', () => {
    expect(cleanText(new TextEncoder().encode('naïve 東京 🚀'))).toBe('naïve 東京 🚀')
    expect(cleanText(Uint8Array.of(0x61, 0xc3, 0x28, 0xff, 0x62))).toBe('a\ufffd(\ufffdb')
    expect(cleanText(Uint8Array.of(0xed, 0xa0, 0x80))).toMatch(/^\ufffd+$/)
  })

  test('cut to length without half a surrogate pair', () => {
    expect(cleanText('🚀🚀', 3)).toBe('🚀')
    expect(cleanText('x'.repeat(300))).toHaveLength(256)
    expect(cleanText('  padded  ')).toBe('padded')
  })

  test('any bytes: bounded, and nothing a terminal would act on', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 0, max: 64 }), (bytes, max) => {
        const text = cleanText(bytes, max)
        expect(text.length).toBeLessThanOrEqual(max)
        expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/)
        expect(text).not.toMatch(/[\ud800-\udbff](?![\udc00-\udfff])/)
      }),
    )
  })
})

describe('nearest: did you mean', () => {
  const words = ['listen', 'dial', 'forward', 'http', 'data-dir', 'config']
  test.each([
    ['lisen', 'listen'],
    ['Listen', 'listen'],
    ['htpp', 'http'],
    ['forwrad', 'forward'],
    ['datadir', 'data-dir'],
    ['confg', 'config'],
  ])('%s means %s', (word, expected) => expect(nearest(word, words)).toBe(expected))

  test('a word like nothing means nothing', () => {
    expect(nearest('kubernetes', words)).toBeNull()
    expect(nearest('', words)).toBeNull()
    expect(nearest('x', [])).toBeNull()
  })
})

describe('hex', () => {
  test('comes back as it went out, whatever the separator and case', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(' ', '', '\n', '\t '), (bytes, separator) => {
        const text = formatHex(bytes, separator)
        expect(parseHex(text)).toEqual(bytes)
        expect(parseHex(text.toUpperCase())).toEqual(bytes)
      }),
    )
    expect(formatHex(Uint8Array.of(0xff, 0x0a))).toBe('ff 0a')
  })

  test.each(['f', 'fff', 'zz', '0x', 'ff-00', 'ff\u0660\u0661'])('%j is no hex', (text) =>
    expect(parseHex(text)).toBeNull(),
  )
})

describe('limits', () => {
  test.each(Object.entries(LIMITS))(
    '%s: default within its range, with a unit in the name and a reason',
    (name, limit) => {
      expect(limit.default).toBeGreaterThanOrEqual(limit.min)
      expect(limit.default).toBeLessThanOrEqual(limit.max)
      expect(limit.min).toBeGreaterThanOrEqual(0)
      expect(Number.isSafeInteger(limit.max)).toBe(true)
      expect(limit.why.length).toBeGreaterThan(10)
      // Milliseconds are said so: setTimeout would run a longer wait at once. Ages are compared, not waited for.
      const isAge = name.endsWith('RetentionMs') || /^history(?:File|Age|Compress)Ms$/.test(name)
      if (name.endsWith('Ms') && !isAge) expect(limit.max).toBeLessThanOrEqual(2 ** 31 - 1)
    },
  )

  test('limitsWith takes overrides, 0 included, and leaves the rest at the defaults', () => {
    const limits = limitsWith({ historyBytes: 0, pingMs: 1234 })
    expect(limits.historyBytes).toBe(0)
    expect(limits.pingMs).toBe(1234)
    for (const name of Object.keys(LIMITS) as LimitName[]) {
      if (name !== 'historyBytes' && name !== 'pingMs') expect(limits[name]).toBe(LIMITS[name].default)
    }
  })

  test('waits that bound each other are in order', () => {
    const limits = limitsWith()
    expect(limits.redialMinMs).toBeLessThan(limits.redialMaxMs)
    expect(limits.goaheadMs).toBeLessThan(5000)
    expect(limits.sourceTailMs).toBeLessThan(limits.retireMs)
  })
})

describe('errors', () => {
  test('codes are spelt VSPC_AREA_WHAT and say whose fault it is', () => {
    for (const [code, entry] of Object.entries(CODES)) {
      expect(code).toMatch(/^VSPC(_[A-Z]+)+$/)
      expect(['local', 'remote', 'system']).toContain(entry.fault)
    }
  })

  test('an error carries code, cause and retryable; the protocol errors say who is at fault by their type', () => {
    const cause = new Error('ECONNREFUSED')
    const error = new VspcError('VSPC_TRANSPORT_DIAL', 'no one listens', { cause })
    expect(error).toMatchObject({ name: 'VspcError', code: 'VSPC_TRANSPORT_DIAL', retryable: true, cause })
    expect(new RemoteProtocolError('VSPC_REPLAY_MISMATCH', 'x')).toBeInstanceOf(VspcError)
    expect(new RemoteProtocolError('VSPC_REPLAY_MISMATCH', 'x').name).toBe('RemoteProtocolError')
    expect(new LocalProtocolError('VSPC_VMOTION_SECRET', 'x').name).toBe('LocalProtocolError')
    expect(errorMessage(error)).toBe('no one listens')
    expect(errorMessage('thrown text')).toBe('thrown text')
  })
})
