import { afterEach, describe, expect, it } from 'vitest'
import { CHECKS, type CheckOptions, type CheckReport, checkServer } from '../../src/sim/index.ts'
import { type Fault, JudgedDouble } from './judged-double.ts'

let double: JudgedDouble | null = null

afterEach(async () => {
  await double?.close()
  double = null
})

async function judge(fault: Fault | null, options: Partial<CheckOptions> = {}): Promise<CheckReport> {
  double = await JudgedDouble.listen(fault)
  return checkServer({
    target: double.target,
    consoles: double.consoles,
    migrations: 30,
    quietMs: 0,
    resumeMs: 50,
    ...options,
  })
}

const outcomes = (report: CheckReport, outcome: string) =>
  report.checks.filter((check) => check.outcome === outcome).map((check) => `${check.name}: ${check.reason}`)

describe('the judge', () => {
  it('passes a right server in everything', async () => {
    const report = await judge(null)
    expect(outcomes(report, 'fail')).toEqual([])
    expect(outcomes(report, 'skipped')).toEqual([])
    expect(report.passed).toBe(CHECKS.length)
  }, 30_000)

  const caught: [Fault, string, RegExp][] = [
    ['peer-ok-unescaped', 'escaping', /4-byte sequence: no PEER-OK/],
    ['goahead-unescaped', 'escaping', /1-byte sequence: .*: an 0xFF (in|before) it was not doubled/],
    ['sequence-of-4', 'escaping', /1-byte sequence/],
    ['any-peer', 'bad-cookies', /peer-wrong: PEER-OK for a cookie that is not valid/],
    ['any-peer', 'cookie-needed', /a PEER with the sequence alone gets PEER-OK/],
    ['cookie-for-ever', 'superseded-cookie', /accepted again after COMPLETE/],
    ['goahead-slow', 'goahead-latency', /GOAHEAD normally takes (8|9|1\d)\d ms \(p50\)/],
    ['goahead-twice', 'goahead-latency', /2 answers to one BEGIN/],
    ['begin-once', 'begin-twice', /begin-again: refused instead of completed \(NOTNOW\)/],
    ['secret-constant', 'secrets', /29 of 30 secrets were used before/],
    ['secret-counted', 'secrets', /5 bytes of the secret hardly ever change; the secrets are counted up/],
    ['secret-short', 'secrets', /a secret has 2 bytes, 4 are the least/],
    ['peer-ok-with-secret', 'peer-ok', /PEER-OK carries 8 bytes besides the sequence/],
    ['mirror', 'unknown-options-refused', /no DONT option 200; no WONT option 200; no WONT VMWARE/],
    ['argue', 'no-loops', /a peer that refuses everything: more than 200 answers, no end/],
    ['argue', 'off-acknowledged-once', /0 times DONT SGA after turning it off twice/],
    ['confirm-confirmations', 'no-loops', /a peer that confirms everything/],
    ['passive', 'openings', /reactive: no WILL-PROXY: none within/],
    ['unknown-echoed', 'unknown-suboptions', /code 42: UNKNOWN-SUBOPTION-RCVD-2 names nothing instead of 2a/],
    ['unknown-silent', 'unknown-suboptions', /code 42: no UNKNOWN-SUBOPTION-RCVD-2/],
    ['unknown-closes', 'unknown-suboptions', /code 42: the server closes the connection/],
    ['known-short', 'known-suboptions', /does not list 0, 1, 2, 3/],
    ['echo', 'no-echo', /comes back as its input/],
    ['nul-dropped', 'all-bytes', /VM to console: \d+ bytes (lost|changed) at offset 0/],
    ['empty-do-proxy-kills', 'do-proxy-malformed', /an empty DO-PROXY: the connection was closed/],
    ['refused-closed', 'refused-not-closed', /closed at once/],
    ['no-chunk-state', 'split-writes', /cut after \d+ bytes|bytes: /],
    ['long-sb-kills', 'suboption-1-mib', /the connection is closed/],
    ['stranger-completes', 'strangers-ignored', /no PEER-OK for the right cookie/],
    ['abort-keeps-holding', 'exactly-once-abort-after-goahead', /is not released at once/],
    ['drop-held', 'exactly-once-fin-before-complete', /console to VM: 1400 bytes lost at offset 700 of 2820/],
    ['drop-held', 'held-input-released', /is not released at once/],
    ['hold-until-key', 'held-input-released', /is not released at once/],
    ['hold-reversed', 'exactly-once-five', /console to VM: \d+ bytes (out of order|changed)/],
    ['input-to-frozen', 'exactly-once-fin-after-complete', /input bytes sent to the frozen source after GOAHEAD/],
    [
      'input-to-candidate',
      'exactly-once-fin-after-complete',
      /sent to the destination before COMPLETE|console to VM: \d+ bytes/,
    ],
    ['double-at-complete', 'exactly-once-fin-before-complete', /VM to console: 1 bytes (doubled|too many) at offset/],
    ['source-fin-ends-port', 'source-fin', /FIN before-peer: /],
    ['com-port-ignored', 'com-port', /WILL COM-PORT is not answered/],
    ['early-data-lost', 'early-data', /VM to console: 700 bytes lost at offset 0/],
    ['newcomer-closed', 'takeover', /the new connection gets nothing from the console/],
    ['early-data-kills', 'early-data-survived', /closed/],
  ]

  it.each(caught)('catches a server with the fault %s by the check %s', async (fault, name, reason) => {
    // Whether secrets look random can be told from some two dozen on.
    const migrations = name === 'secrets' ? 30 : 6
    const report = await judge(fault, { only: [name], limitMs: 400, migrations })
    expect(report.checks).toMatchObject([{ name, outcome: 'fail', reason: expect.stringMatching(reason) }])
    expect(report).toMatchObject({ passed: 0, failed: 1, skipped: 0 })
  })

  it('without a console the checks that need one are skipped, and say so', async () => {
    double = await JudgedDouble.listen()
    const report = await checkServer({ target: double.target, quietMs: 0, only: ['C3', 'C8'] })
    expect(report.checks).toMatchObject([
      { id: 'C8', outcome: 'pass', reason: 'all on' },
      { id: 'C3', outcome: 'skipped', reason: 'needs --console' },
    ])
    expect(report.console).toBeNull()
  })

  it('a server that lets no VM attach fails once, the rest is skipped instead of taking minutes', async () => {
    const report = await judge('do-proxy-silent', { limitMs: 50 })
    expect(report).toMatchObject({ passed: 0, failed: 1, skipped: CHECKS.length - 1 })
    expect(report.checks[5]?.reason).toBe('no VM gets as far as WILL-PROXY')
  })

  it('no server is VSPC_SERVER_UNREACHABLE, an unknown check a usage error with a suggestion', async () => {
    double = await JudgedDouble.listen()
    const { target } = double
    await expect(checkServer({ target, only: ['escapng'] })).rejects.toThrow(
      'no check "escapng"; did you mean "escaping"?',
    )
    await double.close()
    double = null
    await expect(checkServer({ target })).rejects.toMatchObject({ code: 'VSPC_SERVER_UNREACHABLE' })
  })

  it('names are unique, so that --only and JSON readers can rely on them', () => {
    expect(new Set(CHECKS.map((check) => check.name)).size).toBe(CHECKS.length)
  })
})
