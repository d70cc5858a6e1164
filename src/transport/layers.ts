/**
 * What an endpoint asks for around the stream itself: a PROXY header, then resumption, in this order on the wire. Only
 * this file knows both.
 */
import { limitsWith, systemClock, VspcError } from '../base/index.ts'
import type { ByteStream } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, ListenOptions } from './contracts.ts'
import { type Endpoint, formatEndpoint, layersOf } from './endpoint.ts'
import { LinkAcceptor } from './link-acceptor.ts'
import { dialLink } from './link-dialler.ts'
import { ProxyReader, sendProxyHeader } from './proxy-layer.ts'

type DialBare = (endpoint: Endpoint, options: DialOptions) => Promise<ByteStream>

export interface Peeling {
  /** For the streams as they are accepted. */
  readonly handlers: ListenHandlers
  /** Drops those that are not handed over yet. */
  close(): void
}

/** Takes the layers off accepted streams before `handlers` gets them. */
export function peel(endpoint: Endpoint, handlers: ListenHandlers, options: ListenOptions): Peeling {
  const { proxy, resume } = layersOf(endpoint)
  const closers: { close(): void }[] = []
  let outer = handlers
  if (resume === 'on') {
    const acceptor = new LinkAcceptor(outer, options)
    closers.push(acceptor)
    outer = { stream: (stream) => acceptor.take(stream), problem: (problem) => handlers.problem(problem) }
  }
  if (proxy === 'v2') {
    const reader = new ProxyReader(outer, options, asksForCertificate(endpoint))
    closers.push(reader)
    outer = { stream: (stream) => reader.take(stream), problem: (problem) => handlers.problem(problem) }
  }
  return {
    handlers: outer,
    close() {
      for (const closer of closers) closer.close()
    },
  }
}

/** Dials with `dialBare`, and puts the layers on. */
export function dialLayered(endpoint: Endpoint, options: DialOptions, dialBare: DialBare): Promise<ByteStream> {
  if (layersOf(endpoint).resume === 'off') return dialLeg(endpoint, options, dialBare)
  const { signal, nextHop, links, limits = limitsWith(), clock = systemClock } = options
  return dialLink({
    async dialLeg(legSignal) {
      const hop = nextHop?.() ?? endpoint
      // Its frames would be taken for what the VM says.
      if (layersOf(hop).resume === 'off') {
        throw new VspcError(
          'VSPC_LINK_REFUSED',
          `${formatEndpoint(hop)} has no "resume=on": the stream cannot go on there`,
        )
      }
      const legOptions = legSignal === undefined ? withoutSignal(options) : { ...options, signal: legSignal }
      return dialLeg(hop, legOptions, dialBare)
    },
    limits,
    clock,
    ...(signal === undefined ? {} : { signal }),
    ...(links === undefined ? {} : { links }),
  })
}

async function dialLeg(endpoint: Endpoint, options: DialOptions, dialBare: DialBare): Promise<ByteStream> {
  const stream = await dialBare(endpoint, options)
  if (layersOf(endpoint).proxy === 'v2') {
    sendProxyHeader(stream, options.announce ?? { source: null, uniqueId: null, label: null })
  }
  return stream
}

function withoutSignal({ signal, ...options }: DialOptions): DialOptions {
  return options
}

/** A listener that does takes nobody without a fitting one. */
function asksForCertificate(endpoint: Endpoint): boolean {
  return endpoint.scheme === 'tls' && (endpoint.tls.ca !== null || endpoint.tls.pin !== null)
}
