// A double of many VMs with raw serial ports, for one process: `stream-vms.mjs HOST PORT COUNT ADDRESS_PREFIX`.
// Each VM connects from an address of its own (ADDRESS_PREFIX + 1, 2, ...) and prints a stream that is its own from the
// first byte on, until "finish" comes on stdin; then it ends its side. A VM whose connection is gone connects again and
// goes on printing.
// Prints JSON lines: {"ready":true}, {"closed":N,"error":CODE|null,"ended":BOOLEAN}, and at the end
// {"done":true,"vms":[{"sent":BYTES,"sentHash":...,"got":BYTES,"gotHash":...,"closes":N}]}.
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

const [host, port, count, prefix] = process.argv.slice(2)
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`)
const EVERY_MS = 20
let finishing = false
let left = Number(count)

class Vm {
  constructor(index) {
    this.index = index
    this.seed = (index + 1) * 2654435761
    this.sent = 0
    this.sentHash = createHash('sha256')
    this.got = 0
    this.gotHash = createHash('sha256')
    this.closes = 0
    this.over = false
    this.dial()
  }

  dial() {
    let ended = false
    let code = null
    const socket = connect({
      host,
      port: Number(port),
      localAddress: `${prefix}${this.index + 1}`,
      allowHalfOpen: true,
      noDelay: true,
    })
    this.socket = socket
    socket.on('connect', () => {
      this.up = true
      told()
    })
    socket.on('data', (chunk) => {
      this.got += chunk.length
      this.gotHash.update(chunk)
    })
    socket.on('end', () => {
      ended = true
      socket.end()
    })
    socket.on('error', (error) => {
      code = error.code
    })
    socket.on('close', () => {
      const wasUp = this.up
      this.up = false
      if (finishing) {
        if (!this.over) {
          this.over = true
          left--
          if (left === 0) report()
        }
        return
      }
      if (wasUp) {
        this.closes++
        say({ closed: this.index, error: code, ended })
      }
      setTimeout(() => this.dial(), 100)
    })
  }

  // Some 1,000 bytes; of all values.
  print() {
    if (!this.up || this.socket.writableNeedDrain || !this.socket.writable) return
    const length = 200 + (this.next() % 1600)
    const chunk = Buffer.alloc(length)
    for (let i = 0; i < length; i++) chunk[i] = this.next()
    this.socket.write(chunk)
    this.sent += length
    this.sentHash.update(chunk)
  }

  next() {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0
    return this.seed >>> 16
  }
}

const vms = Array.from({ length: Number(count) }, (_, index) => new Vm(index))

let ready = false
function told() {
  if (ready || vms.length === 0 || !vms.every((vm) => vm.up)) return
  ready = true
  say({ ready: true })
}

const timer = setInterval(() => {
  for (const vm of vms) vm.print()
}, EVERY_MS)

function report() {
  say({
    done: true,
    vms: vms.map((vm) => ({
      sent: vm.sent,
      sentHash: vm.sentHash.digest('hex'),
      got: vm.got,
      gotHash: vm.gotHash.digest('hex'),
      closes: vm.closes,
    })),
  })
  process.exit(0)
}

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line !== 'finish') return
  clearInterval(timer)
  finishing = true
  for (const vm of vms) vm.socket.end()
})
