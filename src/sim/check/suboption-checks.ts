/** Option 232 apart from vMotion: lists, unknown codes, DO-PROXY. */
import { SUB, subName } from '../codes.ts'
import type { SimConnection } from '../sim-connection.ts'
import { concatBytes, toBytes } from '../wire.ts'
import type { Check } from './check.ts'
import { judgeKnown, judgeUnanswered, judgeUnknown, subs } from './judge-wire.ts'
import type { Stage } from './stage.ts'
import { verdict } from './verdict.ts'

const known: Check = {
  id: 'C15',
  name: 'known-suboptions',
  title: 'KNOWN-SUBOPTIONS-2 comes, lists what it must, and is the same every time',
  async run(stage) {
    const connection = await stage.attach()
    connection.known()
    await stage.settle(connection)
    const [list] = subs(connection.recorded.items, SUB.KNOWN_SUBOPTIONS_2)
    return verdict(judgeKnown(connection.recorded.items), `${list?.payload.length ?? 0} codes`)
  },
}

/** Unassigned codes, the one that has to be escaped, and one that only a proxy may send. */
const UNKNOWN_CODES: readonly number[] = [42, 99, 255, SUB.VMOTION_GOAHEAD]

const unknown: Check = {
  id: 'C16',
  name: 'unknown-suboptions',
  title:
    'unknown suboptions, with and without payload, get UNKNOWN-SUBOPTION-RCVD-2 with their code; codes 2 and 3 get nothing',
  async run(stage) {
    const connection = await stage.attach()
    await stage.settle(connection)
    const faults: string[] = []
    for (const code of UNKNOWN_CODES) {
      for (const payload of [new Uint8Array(0), Uint8Array.of(1, 0xff, 0xf0)]) {
        const seen = stage.since(connection)
        connection.suboption(code, payload)
        await stage.settle(connection)
        if (!connection.isOpen) return verdict([`code ${code}: the server closes the connection`])
        faults.push(...judgeUnknown(code, seen()))
      }
    }
    for (const code of [SUB.UNKNOWN_SUBOPTION_RCVD_1, SUB.UNKNOWN_SUBOPTION_RCVD_2]) {
      const seen = stage.since(connection)
      connection.suboption(code, Uint8Array.of(99))
      await stage.settle(connection)
      faults.push(...judgeUnanswered(code, seen()))
    }
    return verdict([...faults, ...(await stage.usable(connection))], `${UNKNOWN_CODES.length} codes`)
  },
}

/** The answer to a DO-PROXY on a connection of its own. */
async function ask(stage: Stage, direction: string, serviceURI: string | Uint8Array): Promise<string> {
  const { answer } = await announce(stage, concatBytes(toBytes(direction), toBytes(serviceURI)))
  return answer
}

async function announce(stage: Stage, payload: Uint8Array): Promise<{ answer: string; connection: SimConnection }> {
  const connection = await stage.connect({ announcement: { kind: 'none' } })
  await connection.expect((item) => item.kind === 'sub' && item.code === SUB.KNOWN_SUBOPTIONS_2, {
    timeoutMs: stage.settings.limitMs,
  })
  const reply = connection.reply([SUB.WILL_PROXY, SUB.WONT_PROXY], stage.settings.limitMs)
  connection.suboption(SUB.DO_PROXY, payload)
  // A server that gives no sign at all is given its whole limit.
  const seen = stage.settle(connection).then((signed) => (signed ? null : reply))
  const first = await Promise.race([reply, seen])
  if (first === null || first.kind === 'timeout') return { answer: 'no answer', connection }
  if (first.kind === 'closed') return { answer: 'the connection was closed', connection }
  await seen
  return { answer: subName(first.code), connection }
}

const uriForms: Check = {
  id: 'C18',
  name: 'service-uri-forms',
  title: 'the serviceURI matches bare, with ?arguments and as scheme://name:port; direction C too',
  async run(stage) {
    const { serviceURI } = stage.settings
    const base = serviceURI.replace(/^[a-z]+:\/\//i, '').replace(/[:?/].*$/, '')
    const forms = [serviceURI, `${base}?port=check`, `telnet://${base}:13370`]
    const faults: string[] = []
    for (const direction of ['S', 'C']) {
      for (const form of forms) {
        const answer = await ask(stage, direction, form)
        if (answer !== 'WILL-PROXY') faults.push(`DO-PROXY ${direction} "${form}": ${answer}`)
      }
    }
    return verdict(faults, `${2 * forms.length} WILL-PROXY`)
  },
}

const broken: Check = {
  id: 'C20',
  name: 'do-proxy-malformed',
  title: 'a malformed DO-PROXY gets WONT-PROXY, and a right one behind it still works',
  async run(stage) {
    const faults: string[] = []
    const { serviceURI } = stage.settings
    const cases: readonly [string, Uint8Array][] = [
      ['an empty DO-PROXY', new Uint8Array(0)],
      ['direction X', toBytes(`X${serviceURI}`)],
      ['direction 0xFF', concatBytes(Uint8Array.of(0xff), toBytes(serviceURI))],
    ]
    for (const [what, payload] of cases) {
      const { answer, connection } = await announce(stage, payload)
      if (answer !== 'WONT-PROXY') faults.push(`${what}: ${answer}`)
      if (!connection.isOpen) continue
      const reply = connection.reply([SUB.WILL_PROXY], stage.settings.limitMs)
      connection.doProxy('S', serviceURI)
      if ((await reply).kind !== 'sub') faults.push(`${what}: the right DO-PROXY behind it gets no WILL-PROXY`)
    }
    return verdict(faults, `${cases.length} kinds`)
  },
}

const oddUris: Check = {
  id: 'C18',
  name: 'service-uri-odd',
  title: 'an empty serviceURI and one that is not UTF-8 get an answer, either way',
  async run(stage) {
    const faults: string[] = []
    for (const uri of [new Uint8Array(0), Uint8Array.of(0xff, 0xfe, 0x00, 0xf0), new Uint8Array(2_000).fill(0x61)]) {
      const answer = await ask(stage, 'S', uri)
      if (!answer.endsWith('PROXY')) faults.push(`a serviceURI of ${uri.length} odd bytes: ${answer}`)
    }
    return verdict(faults, 'answered')
  },
}

const payloads: Check = {
  id: 'C20',
  name: 'broken-payloads',
  title: 'empty, short and overlong payloads of every code leave the connection usable',
  async run(stage) {
    const connection = await stage.attach()
    for (let code = 0; code < 96; code++) {
      // A second DO-PROXY would change the port, and BEGIN begins.
      if (code === SUB.DO_PROXY || code === SUB.VMOTION_BEGIN) continue
      connection.suboption(code)
      connection.suboption(code, Uint8Array.of(0xff))
      if (code < SUB.VM_VC_UUID) connection.suboption(code, new Uint8Array(600).fill(0xff))
    }
    connection.begin(new Uint8Array(0))
    return verdict(await stage.usable(connection), '96 codes')
  },
}

const refused: Check = {
  id: 'C54',
  name: 'refused-not-closed',
  title: 'after WONT-PROXY the connection stays up: an instant close is answered by the host with the next dial',
  async run(stage) {
    const { answer, connection } = await announce(stage, toBytes(`X${stage.settings.serviceURI}`))
    if (answer === 'WILL-PROXY') return { skipped: 'the server accepts everything' }
    await stage.quiet(Math.max(250, stage.settings.quietMs))
    return verdict(connection.isOpen ? [] : [`closed at once: ${answer}`], 'still open')
  },
}

export const SUBOPTION_CHECKS: readonly Check[] = [known, unknown, uriForms, oddUris, broken, payloads, refused]
