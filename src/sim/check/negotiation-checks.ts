/** Negotiation and identity: what needs one connection and no console. */
import { OPENINGS } from '../autopilot.ts'
import { DO, DONT, IAC, OPTION, WILL, WONT } from '../codes.ts'
import type { SimIdentity } from '../identity.ts'
import { concatBytes } from '../wire.ts'
import type { Check } from './check.ts'
import { verbs } from './judge-wire.ts'
import type { Stage } from './stage.ts'
import { ENDLESS_VERBS, STUBBORN_WAYS, StubbornPeer, type StubbornWay } from './stubborn-peer.ts'
import { firstLine, verdict } from './verdict.ts'

const SGA = OPTION.SGA
/** An option that no VM and no server has: refused whoever asks. */
const FOREIGN = 200

const openings: Check = {
  id: 'C9',
  name: 'openings',
  title: 'reaches WILL-PROXY however the host opens: reactive, late-proactive, proactive',
  async run(stage) {
    const faults: string[] = []
    const figures: Record<string, number> = {}
    for (const opening of OPENINGS) {
      const began = stage.settings.clock.now()
      try {
        await stage.attach({ opening })
        figures[`${opening}Ms`] = stage.settings.clock.now() - began
      } catch (error) {
        faults.push(`${opening}: ${firstLine(error)}`)
      }
    }
    const slowest = Math.max(0, ...Object.values(figures))
    return verdict(faults, `slowest ${slowest.toFixed(1)} ms from dial to WILL-PROXY`, figures)
  },
}

const authentication: Check = {
  id: 'C7',
  name: 'authentication-answered',
  title: "WILL AUTHENTICATION, a VM's first bytes, is answered at once",
  async run(stage) {
    if (stage.settings.target.tls) return { skipped: 'over TLS a VM does not offer it' }
    const connection = await stage.connect()
    const began = stage.settings.clock.now()
    const answer = await connection.expect((item) => item.kind === 'verb' && item.option === OPTION.AUTHENTICATION, {
      timeoutMs: stage.settings.limitMs,
    })
    const ms = stage.settings.clock.now() - began
    return verdict([], `${answer.name} after ${ms.toFixed(1)} ms`, { answerMs: ms })
  },
}

const lineOptions: Check = {
  id: 'C8',
  name: 'line-options',
  title: "BINARY and SGA on in both directions, option 232 on the VM's side",
  async run(stage) {
    const connection = await stage.attach()
    await stage.settle(connection)
    return verdict(connection.settled ? [] : ['not all of them are on after the handshake'], 'all on')
  },
}

const stubborn: Check = {
  id: 'C10',
  name: 'no-loops',
  title: 'peers that confirm, refuse or mirror everything, and 4,000 WONTs and DONTs, cause no endless answers',
  async run(stage) {
    const faults: string[] = []
    let most = 0
    for (const way of STUBBORN_WAYS) {
      const count = await argue(stage, way)
      most = Math.max(most, count)
      if (count > ENDLESS_VERBS)
        faults.push(`a peer that ${way}s everything: more than ${ENDLESS_VERBS} answers, no end`)
    }
    const flooded = await flood(stage)
    most = Math.max(most, flooded.replies)
    return verdict([...faults, ...flooded.faults], `at most ${most} answers`, { mostAnswers: most })
  },
}

/** Verbs that the server says to a stubborn peer until it is quiet, or past the end of patience. */
async function argue(stage: Stage, way: StubbornWay): Promise<number> {
  const peer = new StubbornPeer(way)
  const connection = await stage.connect({ auto: false, handler: peer })
  connection.willAuth()
  connection.will(OPTION.VMWARE)
  let before = -1
  while (connection.isOpen && peer.verbs <= ENDLESS_VERBS && peer.verbs > before) {
    before = peer.verbs
    // The probe itself brings one answer; while there are others, the argument goes on.
    if (await stage.settle(connection)) before++
    else if (connection.isOpen) await stage.quiet()
  }
  return peer.verbs
}

/** More replies than this to a flood are not one per option any more. */
const MAX_FLOOD_REPLIES = 64

async function flood(stage: Stage): Promise<{ replies: number; faults: string[] }> {
  const connection = await stage.attach()
  await stage.settle(connection)
  const seen = stage.since(connection)
  const frames: Uint8Array[] = []
  for (let n = 0; n < 2_000; n++) {
    const option = [OPTION.BINARY, OPTION.ECHO, SGA, OPTION.COM_PORT, OPTION.AUTHENTICATION, 24, 31, 255][
      n % 8
    ] as number
    frames.push(Uint8Array.of(IAC, WONT, option, IAC, DONT, option))
  }
  connection.sendRaw(concatBytes(...frames))
  await stage.settle(connection)
  const replies = verbs(seen()).length
  const faults = replies > MAX_FLOOD_REPLIES ? [`4,000 WONTs and DONTs: ${replies} answers`] : []
  return { replies, faults: [...faults, ...(await stage.usable(connection))] }
}

const acknowledged: Check = {
  id: 'C11',
  name: 'off-acknowledged-once',
  title: 'WONT and DONT are acknowledged once for an option that is on, and not for one that is off',
  async run(stage) {
    const connection = await stage.attach()
    await stage.settle(connection)
    if (!connection.settled) return { skipped: 'SGA is not on to begin with, see line-options' }
    const seen = stage.since(connection)
    for (const verb of [WONT, WONT, DONT, DONT]) connection.verb(verb, SGA)
    connection.verb(WONT, FOREIGN)
    connection.verb(DONT, FOREIGN)
    await stage.settle(connection)
    const said = verbs(seen())
    const faults: string[] = []
    for (const word of ['DONT SGA', 'WONT SGA']) {
      const count = said.filter((each) => each === word).length
      if (count !== 1) faults.push(`${count} times ${word} after turning it off twice`)
    }
    if (said.some((word) => word.endsWith(`option ${FOREIGN}`)))
      faults.push('an option that was never on is acknowledged')
    const again = said.find((word) => word === 'DO SGA' || word === 'WILL SGA')
    if (again) faults.push(`${again} again, after it was turned off`)
    return verdict(faults, 'one DONT, one WONT')
  },
}

const refusals: Check = {
  id: 'C12',
  name: 'unknown-options-refused',
  title: 'unknown options get DONT and WONT, DO 232 gets WONT, WILL 232 is never said',
  async run(stage) {
    const connection = await stage.attach()
    connection.verb(WILL, FOREIGN)
    connection.verb(DO, FOREIGN)
    connection.verb(DO, OPTION.VMWARE)
    await stage.settle(connection)
    const said = verbs(connection.recorded.items)
    const wanted = [`DONT option ${FOREIGN}`, `WONT option ${FOREIGN}`, 'WONT VMWARE-TELNET-EXT']
    const faults = wanted.filter((word) => !said.includes(word)).map((word) => `no ${word}`)
    if (said.includes('WILL VMWARE-TELNET-EXT')) faults.push('it offers option 232 itself')
    return verdict(faults, 'refused')
  },
}

const comPort: Check = {
  id: 'C13',
  name: 'com-port',
  title: 'WILL COM-PORT gets DONT, or DO and an acknowledgement for every SET',
  async run(stage) {
    const connection = await stage.attach({ line: { baud: 115_200, dataSize: 8, parity: 1, stopSize: 1 } })
    await stage.settle(connection)
    const { items } = connection.recorded
    const said = verbs(items)
    if (said.includes('DONT COM-PORT')) return verdict(await stage.usable(connection), 'refused with DONT')
    if (!said.includes('DO COM-PORT')) return verdict(['WILL COM-PORT is not answered'])
    // The SETs left with the DO; another round so that their answers are in.
    await stage.settle(connection)
    const acks = [101, 102, 103, 104].filter(
      (code) => !connection.recorded.items.some((item) => item.kind === 'sub' && item.name === `SB COM-PORT ${code}`),
    )
    const faults = acks.map((code) => `SET ${code - 100} is not acknowledged`)
    return verdict(faults, 'agreed, all SETs acknowledged')
  },
}

const UUID = '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00'

const identities: Check = {
  id: 'C22',
  name: 'identity-answers',
  title: 'identity late, early, missing, unknown, empty or not UTF-8: attached all the same, BEGIN is answered',
  async run(stage) {
    const { name, vcUuid } = stage.someone().identity
    const kinds: readonly [string, SimIdentity][] = [
      ['late', { vcUuid: { value: vcUuid as string, delayMs: 100 }, name: { value: name as string, delayMs: 100 } }],
      [
        'volunteered',
        { vcUuid: { value: vcUuid as string, volunteer: true }, name: { value: name as string, volunteer: true } },
      ],
      ['never answered', { vcUuid: { value: null, how: 'silent' }, name: { value: null, how: 'silent' } }],
      ['refused', { vcUuid: { value: null, how: 'unknown' }, name: { value: null, how: 'unknown' } }],
      ['empty', { vcUuid: '', name: '' }],
      ['no UUID at all', { vcUuid: `${UUID} and more`, name: 'check-no-uuid' }],
      ['not UTF-8', { vcUuid: vcUuid as string, name: Uint8Array.of(0xff, 0xfe, 0x41, 0x1b, 0x5b, 0x00) }],
    ]
    const faults: string[] = []
    for (const [kind, identity] of kinds) {
      try {
        const connection = await stage.attach({ identity })
        faults.push(...(await stage.usable(connection)).map((fault) => `${kind}: ${fault}`))
      } catch (error) {
        faults.push(`${kind}: ${firstLine(error)}`)
      }
    }
    return verdict(faults, `${kinds.length} kinds`)
  },
}

export const NEGOTIATION_CHECKS: readonly Check[] = [
  openings,
  authentication,
  lineOptions,
  stubborn,
  acknowledged,
  refusals,
  comPort,
  identities,
]
