import type { Duplex } from 'node:stream'
import { formatHex } from '../../src/base/index.ts'
import {
  decodeVmMessage,
  encodeProxyMessage,
  OPTION,
  type OptionPolicy,
  PROXY_KNOWN_SUBOPTIONS,
  type ProxyMessage,
  type TelnetOwner,
  TelnetSession,
  VMWARE_POLICY,
  type VmMessage,
} from '../../src/telnet/index.ts'

/** How a double differs from a good proxy. */
export interface DoubleHabits {
  readonly policy?: OptionPolicy
  /** Instead of what a good proxy would say; null = silence; undefined = be good. */
  readonly answer?: (message: VmMessage, good: readonly ProxyMessage[]) => readonly ProxyMessage[] | undefined
  /** Asked of the connection before anything else: bytes of options that no one else offers. */
  readonly firstWords?: Uint8Array
  /** Ends the connection when the VM says this. */
  readonly hangUpOn?: VmMessage['kind']
}

/**
 * A small proxy without ports, consoles or timers: it negotiates, answers option 232, gives secrets of its own and
 * checks them, and notes what the VMs said. For replaying captures against.
 */
export class ProxyDouble {
  readonly #habits: DoubleHabits
  /** Per connection, in order of arrival: messages by kind, and the serial data. */
  readonly connections: { heard: string[]; data: number[]; ended: boolean }[] = []
  /** Hex of sequence and secret of every open vMotion. */
  readonly cookies = new Map<string, Uint8Array>()
  #secrets = 0

  constructor(habits: DoubleHabits = {}) {
    this.#habits = habits
  }

  /** Serial data of all connections in order of arrival of their connections. */
  get output(): Uint8Array {
    return Uint8Array.from(this.connections.flatMap(({ data }) => data))
  }

  /** Takes one connection. */
  readonly accept = (stream: Duplex): void => {
    const connection = { heard: [] as string[], data: [] as number[], ended: false }
    this.connections.push(connection)
    const say = (message: ProxyMessage): void =>
      session.sendSubnegotiation(OPTION.VMWARE_TELNET_EXT, encodeProxyMessage(message))
    const owner: TelnetOwner = {
      telnetData: (bytes) => connection.data.push(...bytes),
      telnetOption: (side, option, change) => {
        if (side !== 'them' || change !== 'on' || option !== OPTION.VMWARE_TELNET_EXT) return
        say({ kind: 'KNOWN-SUBOPTIONS-2', codes: Uint8Array.from(PROXY_KNOWN_SUBOPTIONS) })
      },
      telnetSubnegotiation: (option, payload) => {
        if (option !== OPTION.VMWARE_TELNET_EXT) return
        const message = decodeVmMessage(payload)
        if (message === null || message.kind === 'unknown' || message.kind === 'malformed') return
        connection.heard.push(message.kind)
        const good = this.#good(message)
        for (const answer of this.#habits.answer?.(message, good) ?? good) say(answer)
        // Behind the answers, which leave at the end of the chunk.
        if (message.kind === this.#habits.hangUpOn) setImmediate(() => stream.end())
      },
      telnetCommand: () => {},
      telnetAnomaly: (kind) => connection.heard.push(`anomaly ${kind}`),
      telnetSend: (bytes) => stream.write(bytes),
    }
    const session = new TelnetSession(owner, this.#habits.policy ?? VMWARE_POLICY, {
      maxSubnegotiationBytes: 4096,
      maxNegotiationReplies: 256,
    })
    stream.on('data', (chunk: Uint8Array) => session.receive(Uint8Array.from(chunk)))
    stream.on('end', () => {
      connection.ended = true
      stream.end()
    })
    stream.on('error', () => {})
    if (this.#habits.firstWords) stream.write(this.#habits.firstWords)
    session.start()
  }

  #good(message: VmMessage): ProxyMessage[] {
    switch (message.kind) {
      case 'DO-PROXY':
        return [{ kind: 'GET-VM-VC-UUID' }, { kind: 'GET-VM-NAME' }, { kind: 'WILL-PROXY' }]
      case 'VMOTION-BEGIN': {
        const secret = Uint8Array.of(0xff, 0x40 + this.#secrets++, 0x00, 0xf0, 0xff)
        this.cookies.set(formatHex(Uint8Array.of(...message.sequence, ...secret)), message.sequence)
        return [{ kind: 'VMOTION-GOAHEAD', sequence: message.sequence, secret }]
      }
      case 'VMOTION-PEER': {
        const sequence = this.cookies.get(formatHex(message.cookie))
        return sequence ? [{ kind: 'VMOTION-PEER-OK', sequence }] : []
      }
      default:
        return []
    }
  }
}
