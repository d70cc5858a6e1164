/** A console that a foreign server offers on a TCP port: telnet (the default) or raw. */
import { connect, type Socket } from 'node:net'
import { errorMessage, LIMITS, VspcError } from '../../base/index.ts'
import { DO, OPTION, WILL } from '../codes.ts'
import { VmNegotiation } from '../negotiation.ts'
import { doubleIac, encodeVerb, WireParser, type WireSink } from '../wire.ts'
import type { CheckConsoles, ConsoleLink, ConsoleListener } from './console.ts'

const ACCEPTED: readonly number[] = [OPTION.BINARY, OPTION.SGA]
const CR = 0x0d

/**
 * Consoles at `tcp://host:port[?protocol=telnet|raw]`: one port, so one VM, named `vspc-check`.
 * @throws VspcError VSPC_ENDPOINT_SYNTAX, _PORT or _PARAMETER.
 */
export function tcpConsoles(uri: string): CheckConsoles {
  const match = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/?[\]]+)):(\d+)\/?(?:\?protocol=(.*))?$/i.exec(uri)
  const host = match?.[1] ?? match?.[2]
  if (!match || host === undefined) {
    throw new VspcError('VSPC_ENDPOINT_SYNTAX', `"${uri}": expected tcp://HOST:PORT[?protocol=telnet|raw]`)
  }
  const port = Number(match[3])
  if (port < 1 || port > 65_535) throw new VspcError('VSPC_ENDPOINT_PORT', `"${uri}": port ${port} is not in 1-65535`)
  const protocol = match[4] ?? 'telnet'
  if (protocol !== 'telnet' && protocol !== 'raw') {
    throw new VspcError('VSPC_ENDPOINT_PARAMETER', `"${uri}": protocol "${protocol}"; accepted: telnet, raw`)
  }
  return {
    address: uri,
    single: true,
    attach: (_vm, listener) => attach(host, port, protocol, listener),
  }
}

async function attach(
  host: string,
  port: number,
  protocol: 'telnet' | 'raw',
  listener: ConsoleListener,
): Promise<ConsoleLink> {
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
  const console = new TcpConsole(socket, listener, protocol)
  await console.opened
  return console
}

class TcpConsole implements ConsoleLink, WireSink {
  readonly opened: Promise<void>
  readonly #socket: Socket
  readonly #negotiation: VmNegotiation | null
  readonly #parser = new WireParser()
  #listener: ConsoleListener | null
  #afterCr = false

  constructor(socket: Socket, listener: ConsoleListener, protocol: 'telnet' | 'raw') {
    this.#socket = socket
    this.#listener = listener
    this.#negotiation = protocol === 'telnet' ? new VmNegotiation(ACCEPTED, [...ACCEPTED, OPTION.ECHO]) : null
    this.opened = new Promise((resolve, reject) => {
      socket.once('connect', () => {
        this.#offer()
        resolve()
      })
      socket.once('close', () => reject(new VspcError('VSPC_TRANSPORT_DIAL', `no console: ${this.#why}`)))
    })
    socket.setTimeout(LIMITS.dialMs.default, () => {
      if (socket.connecting) socket.destroy(new Error('no answer'))
    })
    socket.on('data', (chunk) => this.#received(chunk))
    socket.on('error', (error) => {
      this.#why = errorMessage(error)
    })
    socket.on('end', () => socket.end())
    socket.on('close', () => this.#listener?.closed(this.#why))
  }

  #why = 'closed by the server'

  write(bytes: Uint8Array): void {
    if (this.#negotiation === null) this.#socket.write(bytes.slice())
    else this.#socket.write(doubleIac(this.#negotiation.usOn(OPTION.BINARY) ? bytes.slice() : withNuls(bytes)))
  }

  close(): Promise<void> {
    this.#listener = null
    return new Promise((resolve) => {
      if (this.#socket.destroyed) resolve()
      else this.#socket.once('close', () => resolve()).destroySoon()
      this.#socket.resume()
      // Who does not answer the FIN is not waited for.
      setTimeout(() => this.#socket.destroy(), LIMITS.closeMs.default).unref()
    })
  }

  /** BINARY both ways, so that nothing is rewritten: RFC 856. */
  #offer(): void {
    if (this.#negotiation === null) return
    for (const verb of [WILL, DO] as const) {
      for (const option of ACCEPTED)
        if (this.#negotiation.ask(verb, option)) this.#socket.write(encodeVerb(verb, option))
    }
  }

  #received(chunk: Uint8Array): void {
    if (this.#negotiation) this.#parser.push(chunk, this)
    else this.#listener?.data(chunk)
  }

  // WireSink

  onData(bytes: Uint8Array): void {
    const binary = this.#negotiation?.themOn(OPTION.BINARY) === true
    this.#listener?.data(binary ? bytes : this.#withoutNuls(bytes))
  }

  onVerb(verb: number, option: number): void {
    const step = this.#negotiation?.receive(verb, option)
    if (step && step.answer !== null) this.#socket.write(encodeVerb(step.answer, option))
  }

  onSub(): void {}
  onCommand(): void {}
  onMalformed(): void {}

  /** RFC 854: without BINARY a bare CR travels as CR NUL. */
  #withoutNuls(bytes: Uint8Array): Uint8Array {
    return bytes.filter((byte) => {
      const padding = byte === 0 && this.#afterCr
      this.#afterCr = byte === CR
      return !padding
    })
  }
}

function withNuls(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(Array.from(bytes).flatMap((byte) => (byte === CR ? [CR, 0] : [byte])))
}
