/** vMotion as the hosts see it: answers, cookies, wrong sides, lost connections. */
import { SUB } from '../codes.ts'
import { type MigrationFailure, SOURCE_FINS } from '../migration-variants.ts'
import type { SimPortSpec, SimVm } from '../sim-vm.ts'
import { concatBytes } from '../wire.ts'
import type { Check } from './check.ts'
import { judgeGoaheadLatency, judgeSecrets, summarize } from './judge-figures.ts'
import { judgeAccepted, subs } from './judge-wire.ts'
import type { Stage } from './stage.ts'
import { actOut, judgeResult, variantOptions, violations } from './variant.ts'
import { firstLine, type Verdict, verdict } from './verdict.ts'

const latency: Check = {
  id: 'C29',
  name: 'goahead-latency',
  title: 'every BEGIN gets exactly one GOAHEAD, normally within 50 ms, always within 5 s',
  async run(stage) {
    const { goaheadMs, beginFaults, failures, made } = await stage.migrations()
    const summary = summarize(goaheadMs)
    const faults = [...failures, ...beginFaults, ...judgeGoaheadLatency(goaheadMs, stage.roundTripMs)]
    if (!summary) return verdict(faults)
    const { p50, p99, max } = summary
    const detail = `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(2)} ms in ${made} migrations`
    return verdict(faults, detail, {
      p50Ms: p50,
      p99Ms: p99,
      maxMs: max,
      migrations: made,
      roundTripMs: stage.roundTripMs,
    })
  },
}

const secrets: Check = {
  id: 'C31',
  name: 'secrets',
  title: 'secrets have 4 bytes or more, are never used twice, for whatever VM, and look drawn at random',
  async run(stage) {
    const { secrets: all } = await stage.migrations()
    if (all.length === 0) return { skipped: 'no GOAHEAD to take one from' }
    const length = Math.min(...all.map((secret) => secret.length))
    return verdict(judgeSecrets(all), `${all.length} secrets of ${length} bytes`, {
      secrets: all.length,
      bytes: length,
    })
  },
}

const peerOk: Check = {
  id: 'C32',
  name: 'peer-ok',
  title: 'PEER with the right cookie gets one PEER-OK, with the sequence alone',
  async run(stage) {
    const { peerFaults, peerOkMs, failures } = await stage.migrations()
    const summary = summarize(peerOkMs)
    const faults = [...failures, ...peerFaults]
    if (!summary) return verdict(faults)
    const { p50, p99 } = summary
    return verdict(faults, `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)} ms`, { p50Ms: p50, p99Ms: p99 })
  },
}

const backAndForth: Check = {
  id: 'C37',
  name: 'five-migrations',
  title: 'five migrations of one VM back and forth',
  async run(stage) {
    const vm = await stage.boot()
    const faults: string[] = []
    for (let n = 1; n <= 5; n++) {
      const result = await vm.migrate(variantOptions(stage, vm, undefined))
      faults.push(...judgeResult(`migration ${n}`, undefined, result))
    }
    return verdict([...faults, ...violations(vm)], 'all completed')
  },
}

const sourceFin: Check = {
  id: 'C36',
  name: 'source-fin',
  title: "the source's FIN before PEER, after PEER, before COMPLETE or after it: the migration completes",
  async run(stage) {
    const faults: string[] = []
    for (const fin of SOURCE_FINS) {
      const vm = await stage.boot()
      const result = await vm.migrate({ ...variantOptions(stage, vm, undefined), sourceFin: fin })
      faults.push(...judgeResult(`FIN ${fin}`, undefined, result))
      vm.print('after the move\r\n')
      const after = await vm.migrate(variantOptions(stage, vm, undefined))
      faults.push(...judgeResult(`the migration after FIN ${fin}`, undefined, after), ...violations(vm))
    }
    return verdict(faults, SOURCE_FINS.join(', '))
  },
}

const segments: Check = {
  id: 'C38',
  name: 'destination-segments',
  title: 'a destination whose PEER, COM-PORT, identity and COMPLETE come glued, cut into bytes or late',
  async run(stage) {
    const faults: string[] = []
    for (const split of ['glue', 'bytes', { at: 9 }, { every: 5 }] as const) {
      const { identity } = stage.someone()
      const late = { vcUuid: { value: identity.vcUuid as string, delayMs: 20 }, name: 'late' }
      const vm = await stage.boot({ identity: late, connection: { split } })
      const result = await vm.migrate(variantOptions(stage, vm, undefined))
      faults.push(...judgeResult(JSON.stringify(split), undefined, result), ...violations(vm))
    }
    return verdict(faults, '4 ways')
  },
}

const AT_ONCE = 20

const atOnce: Check = {
  id: 'C40',
  name: 'many-at-once',
  title: '20 VMs with two ports each migrate at once, all with the same sequence',
  async run(stage) {
    const { serviceURI } = stage.settings
    const mark = serviceURI.includes('?') ? '&' : '?'
    const ports = ['a', 'b'].map((label) => ({ serviceURI: `${serviceURI}${mark}port=${label}` }))
    // A server that does not take labels has its own check for that.
    const [first, labelled] = await bootLabelled(stage, ports)
    const others = Array.from({ length: AT_ONCE - 1 }, () => stage.boot(labelled ? { ports } : {}))
    const vms = [first, ...(await Promise.all(others))]
    const sequence = stage.sequence()
    const results = await Promise.all(
      vms.map((vm) => vm.migrate({ ...variantOptions(stage, vm, undefined), sequence })),
    )
    const faults = results.flatMap((result) => judgeResult('one of many', undefined, result))
    const drawn = results
      .flatMap((result) => result.ports.map((port) => port.secret))
      .filter((secret) => secret !== null)
    return verdict([...faults, ...judgeSecrets(drawn)], `${results.length} completed, ${drawn.length} ports`)
  },
}

async function bootLabelled(stage: Stage, ports: readonly SimPortSpec[]): Promise<[SimVm, boolean]> {
  try {
    return [await stage.boot({ ports }), true]
  } catch {
    // WONT-PROXY: one port each then.
    return [await stage.boot(), false]
  }
}

/** A check made of migrations that go wrong. */
function variants(id: string, name: string, title: string, failures: readonly MigrationFailure[]): Check {
  return {
    id,
    name,
    title,
    async run(stage): Promise<Verdict> {
      const faults: string[] = []
      for (const failure of failures) {
        try {
          faults.push(...(await actOut(stage, failure)))
        } catch (error) {
          faults.push(`${failure}: ${firstLine(error)}`)
        }
        await stage.strike()
      }
      return verdict(faults, failures.join(', '))
    },
  }
}

/** A migration as far as its GOAHEAD, for checks that go on by hand. */
async function begun(stage: Stage) {
  const { identity } = stage.someone()
  const source = await stage.attach({ identity })
  const sequence = stage.sequence()
  const { faults, secret } = await stage.begin(source, sequence)
  return { identity, source, sequence, faults, cookie: stage.cookie(sequence, secret) }
}

const strangers: Check = {
  id: 'C42',
  name: 'strangers-ignored',
  title: 'COMPLETE and ABORT from connections that have nothing to do with the migration change nothing',
  async run(stage) {
    const { identity, source, sequence, cookie, faults: found } = await begun(stage)
    const faults = [...found]
    const others = [await stage.attach(), await stage.connect({ announcement: { kind: 'none' } })]
    for (const other of others) {
      other.complete(sequence)
      other.complete(cookie)
      other.abortVmotion()
      await stage.settle(other)
    }
    const { connection, items } = await stage.peer(cookie, { identity })
    faults.push(...judgeAccepted(sequence, items).map((fault) => `after COMPLETE and ABORT of strangers: ${fault}`))
    for (const other of others) {
      other.complete(sequence)
      other.abortVmotion()
      await stage.settle(other)
    }
    connection.complete(sequence)
    faults.push(...(await stage.usable(connection)))
    const [neighbour] = others
    if (neighbour) faults.push(...(await stage.usable(neighbour)).map((fault) => `the stranger: ${fault}`))
    source.fin()
    return verdict(faults, 'ignored')
  },
}

const withoutBegin: Check = {
  id: 'C42',
  name: 'out-of-turn',
  title: 'ABORT without BEGIN and COMPLETE without PEER change nothing',
  async run(stage) {
    const connection = await stage.attach()
    connection.abortVmotion()
    connection.complete(stage.sequence())
    connection.data('still here\r\n')
    return verdict(await stage.usable(connection), 'ignored')
  },
}

const superseded: Check = {
  id: 'C43',
  name: 'superseded-cookie',
  title: 'after a second BEGIN the first cookie is refused and the second accepted, each once',
  async run(stage) {
    const first = await begun(stage)
    const faults = [...first.faults]
    const again = stage.sequence()
    const { faults: more, secret } = await stage.begin(first.source, again)
    faults.push(...more)
    const stale = await stage.peer(first.cookie, { identity: first.identity })
    if (subs(stale.items, SUB.VMOTION_PEER_OK).length > 0)
      faults.push('the cookie of the first BEGIN is still accepted')
    const cookie = stage.cookie(again, secret)
    const { connection, items } = await stage.peer(cookie, { identity: first.identity })
    faults.push(...judgeAccepted(again, items))
    connection.complete(again)
    await stage.settle(connection)
    const replay = await stage.peer(cookie, { identity: first.identity })
    if (subs(replay.items, SUB.VMOTION_PEER_OK).length > 0) faults.push('a cookie is accepted again after COMPLETE')
    return verdict([...faults, ...(await stage.usable(connection))], 'refused')
  },
}

const guessed: Check = {
  id: 'C43',
  name: 'cookie-needed',
  title: 'PEER without any BEGIN, with the sequence alone, or of another VM: no PEER-OK',
  async run(stage) {
    const { identity, source, sequence, cookie, faults: found } = await begun(stage)
    const faults = [...found]
    const tries: readonly [string, Uint8Array][] = [
      ['an empty PEER', new Uint8Array(0)],
      ['a PEER with the sequence alone', sequence],
      ['a PEER with a secret of zeros', concatBytes(sequence, new Uint8Array(8))],
      ['a PEER for a sequence that never began', stage.random(12)],
    ]
    for (const [what, payload] of tries) {
      const { items } = await stage.peer(payload, { identity })
      if (subs(items, SUB.VMOTION_PEER_OK).length > 0) faults.push(`${what} gets PEER-OK`)
    }
    const { items } = await stage.peer(cookie, { identity })
    faults.push(...judgeAccepted(sequence, items))
    source.abortVmotion()
    return verdict([...faults, ...(await stage.usable(source))], `${tries.length} guesses refused`)
  },
}

export const VMOTION_CHECKS: readonly Check[] = [
  latency,
  secrets,
  peerOk,
  sourceFin,
  backAndForth,
  segments,
  atOnce,
  variants('C41', 'abort', 'ABORT after GOAHEAD and after PEER-OK: the VM stays and can migrate again', [
    'abort-after-goahead',
    'abort-after-peer-ok',
  ]),
  variants('C42', 'wrong-side', 'COMPLETE on the source, ABORT on the destination, wrong and repeated COMPLETE', [
    'complete-on-source',
    'abort-on-destination',
    'complete-wrong',
    'complete-twice',
  ]),
  strangers,
  withoutBegin,
  variants('C43', 'bad-cookies', 'PEER with a wrong, truncated, extended, replayed or aborted cookie is refused', [
    'peer-wrong',
    'peer-truncated',
    'peer-extended',
    'peer-replayed',
    'peer-late',
  ]),
  superseded,
  guessed,
  variants('C44', 'begin-twice', 'BEGIN again, with the same and with a new sequence, is answered', [
    'begin-again',
    'begin-new',
  ]),
  variants('C45', 'destinations', 'a destination that drops before COMPLETE, and a second one', [
    'destination-lost',
    'destination-drop',
    'peer-twice',
  ]),
  variants('C46', 'source-lost', 'the source is lost, or no COMPLETE comes: the VM is served again and can migrate', [
    'source-lost',
    'complete-missing',
  ]),
  variants('C47', 'goahead-late', 'the VM goes on in place without ABORT, and can migrate again', ['goahead-late']),
]
