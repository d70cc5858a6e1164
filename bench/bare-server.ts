/**
 * The yardstick: a Node server that does the same socket work as the concentrator with canned answers, and parses
 * nothing. It counts bytes to know when to say what; see LENGTHS in wire.ts.
 *
 * Three VM listeners, because it cannot tell what a connection is: VMs, VMs that will be sources of vMotions, and
 * destinations. Consoles name their VM's connection by its address: `/console/ADDRESS:PORT`.
 */
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { LENGTHS, PROXY } from './wire.ts'

interface Step {
  /** Bytes received by then, over all steps. */
  readonly at: number
  readonly answer: Buffer
}

const INTRODUCTION: readonly Step[] = [
  { at: LENGTHS.authentication, answer: PROXY.dontAuthentication },
  { at: LENGTHS.options, answer: PROXY.known },
  { at: LENGTHS.doProxy, answer: Buffer.concat([PROXY.willProxy, PROXY.questions]) },
]
const SOURCE: readonly Step[] = [...INTRODUCTION, { at: LENGTHS.introduced + LENGTHS.asked, answer: PROXY.goahead }]
const DESTINATION: readonly Step[] = [
  { at: LENGTHS.authentication, answer: PROXY.dontAuthentication },
  { at: LENGTHS.options, answer: PROXY.known },
  { at: LENGTHS.peered, answer: Buffer.concat([PROXY.peerOk, PROXY.questions]) },
  { at: LENGTHS.moved + LENGTHS.asked, answer: PROXY.goahead },
]

/** Unsent console bytes at which a VM is no longer read. */
const HIGH_BYTES = 1 << 20

class Vm {
  readonly socket: Socket
  readonly #steps: readonly Step[]
  #step = 0
  #received = 0
  #console: WebSocket | null = null
  #paused = false

  constructor(socket: Socket, steps: readonly Step[]) {
    this.socket = socket
    this.#steps = steps
  }

  received(chunk: Buffer): void {
    const console = this.#console
    if (console !== null) {
      console.send(chunk, { binary: true, compress: false }, this.#sent)
      if (console.bufferedAmount > HIGH_BYTES && !this.#paused) {
        this.#paused = true
        this.socket.pause()
      }
    }
    if (this.#step === this.#steps.length) return
    this.#received += chunk.length
    let answer: Buffer | null = null
    for (let step = this.#steps[this.#step]; step && this.#received >= step.at; step = this.#steps[++this.#step]) {
      answer = answer === null ? step.answer : Buffer.concat([answer, step.answer])
    }
    if (answer !== null) this.socket.write(answer)
  }

  attach(console: WebSocket): void {
    this.#console = console
    console.on('message', (data) => this.socket.write(data as Buffer))
    console.on('close', () => {
      this.#console = null
      this.socket.resume()
    })
  }

  readonly #sent = (): void => {
    if (!this.#paused || (this.#console?.bufferedAmount ?? 0) > HIGH_BYTES / 2) return
    this.#paused = false
    this.socket.resume()
  }
}

const VM = Symbol('vm')
type VmSocket = Socket & { [VM]?: Vm }

const vms = new Map<string, Vm>()

function onData(this: VmSocket, chunk: Buffer): void {
  this[VM]?.received(chunk)
}

function onEnd(this: VmSocket): void {
  this.end()
}

function onError(): void {}

function onClose(this: VmSocket & { key?: string }): void {
  if (this.key !== undefined) vms.delete(this.key)
}

function listenForVms(steps: readonly Step[]): Promise<number> {
  const server = createServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  })
  server.on('connection', (socket: VmSocket & { key?: string }) => {
    const vm = new Vm(socket, steps)
    socket[VM] = vm
    socket.key = `${socket.remoteAddress}:${socket.remotePort}`
    vms.set(socket.key, vm)
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
    socket.write(PROXY.offers)
  })
  return new Promise((resolve) => {
    server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => resolve((server.address() as AddressInfo).port))
  })
}

function listenForConsoles(): Promise<number> {
  const http = createHttpServer()
  const consoles = new WebSocketServer({
    server: http,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has('vspc.v1') ? 'vspc.v1' : false),
  })
  consoles.on('connection', (console, request) => {
    const vm = vms.get((request.url ?? '').slice('/console/'.length))
    if (vm === undefined) console.close()
    else vm.attach(console)
  })
  return new Promise((resolve) => {
    http.listen({ host: '127.0.0.1', port: 0 }, () => resolve((http.address() as AddressInfo).port))
  })
}

const ports = {
  vm: await listenForVms(INTRODUCTION),
  source: await listenForVms(SOURCE),
  destination: await listenForVms(DESTINATION),
  http: await listenForConsoles(),
}
process.stdout.write(`${JSON.stringify(ports)}\n`)
process.on('SIGTERM', () => process.exit(0))
