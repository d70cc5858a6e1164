/**
 * What vCenter tells its hosts and its administrators: each reconfiguration of a VM, in order, from the event history.
 * Reads XML with expressions of its own, so that a mistake of our client does not hide itself.
 */
import { Agent, request } from 'node:https'

/** Of one serial port. */
export interface Reconfiguration {
  /** Its managed object. */
  readonly vm: string
  readonly operation: string
  readonly device: string
  readonly key: number
  readonly serviceURI: string | null
  readonly direction: string | null
  readonly proxyURI: string | null
  readonly connected: boolean
  /** Milliseconds since 1970, when it was read. */
  readonly at: number
}

const POLL_MS = 20

export class VcenterEvents {
  readonly #url: string
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
  readonly #onChange: (change: Reconfiguration) => void
  #cookie = ''
  #collector = ''
  #stopped = false
  #failure: Error | null = null
  #polling: Promise<void> = Promise.resolve()

  private constructor(url: string, onChange: (change: Reconfiguration) => void) {
    this.#url = url
    this.#onChange = onChange
  }

  /** From now on. */
  static async follow(
    url: string,
    user: string,
    password: string,
    onChange: (change: Reconfiguration) => void,
  ): Promise<VcenterEvents> {
    const events = new VcenterEvents(url, onChange)
    await events.#call('SessionManager', 'SessionManager', 'Login', tag('userName', user) + tag('password', password))
    const kind = '<filter><eventTypeId>VmReconfiguredEvent</eventTypeId></filter>'
    const made = await events.#call('EventManager', 'EventManager', 'CreateCollectorForEvents', kind)
    events.#collector = textOf(made, 'returnval') ?? ''
    await events.#call('EventHistoryCollector', events.#collector, 'ResetCollector', '')
    events.#polling = events.#poll()
    return events
  }

  /** @throws what went wrong meanwhile. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#polling
    this.#agent.destroy()
    if (this.#failure !== null) throw this.#failure
  }

  async #poll(): Promise<void> {
    try {
      while (!this.#stopped) {
        const page = await this.#call(
          'EventHistoryCollector',
          this.#collector,
          'ReadNextEvents',
          tag('maxCount', '500'),
        )
        const at = Date.now()
        for (const [event] of page.matchAll(/<returnval [^>]*type="VmReconfiguredEvent"[\s\S]*?<\/returnval>/g)) {
          for (const change of changesOf(event, at)) this.#onChange(change)
        }
        await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      }
    } catch (error) {
      this.#failure = error as Error
    }
  }

  #call(type: string, ref: string, method: string, content: string): Promise<string> {
    const body =
      '<?xml version="1.0" encoding="UTF-8"?><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>' +
      `<${method} xmlns="urn:vim25"><_this type="${type}">${ref}</_this>${content}</${method}></Body></Envelope>`
    return new Promise((resolve, reject) => {
      const headers = { 'Content-Type': 'text/xml', SOAPAction: 'urn:vim25/6.7', Cookie: this.#cookie }
      const call = request(this.#url, { method: 'POST', agent: this.#agent, headers }, (response) => {
        const [cookie] = response.headers['set-cookie'] ?? []
        if (cookie !== undefined) this.#cookie = cookie.replace(/;.*/, '')
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          if (response.statusCode === 200) resolve(text)
          else reject(new Error(`${method}: ${response.statusCode} ${text.slice(0, 500)}`))
        })
      })
      call.on('error', reject)
      call.end(body)
    })
  }
}

function* changesOf(event: string, at: number): Generator<Reconfiguration> {
  const vm = /<vm><name>[^<]*<\/name><vm type="VirtualMachine">([^<]+)<\/vm><\/vm>/.exec(event)?.[1] ?? '?'
  const changes = [...event.matchAll(/<deviceChange[ >][\s\S]*?<\/deviceChange>/g)]
  // A change of something else, which nobody asked for, is to be seen.
  if (changes.length === 0) changes.push(/^/.exec('') as RegExpExecArray)
  for (const [change] of changes) {
    yield {
      vm,
      operation: textOf(change, 'operation') ?? '?',
      device: /<device [^>]*type="([^"]+)"/.exec(change)?.[1] ?? '?',
      key: Number(textOf(change, 'key') ?? -1),
      serviceURI: textOf(change, 'serviceURI'),
      direction: textOf(change, 'direction'),
      proxyURI: textOf(change, 'proxyURI'),
      connected: textOf(change, 'connected') === 'true',
      at,
    }
  }
}

function textOf(xml: string, name: string): string | null {
  const text = new RegExp(`<${name}(?: [^>]*)?>([^<]*)</${name}>`).exec(xml)?.[1]
  return text === undefined ? null : unescaped(text)
}

function unescaped(text: string): string {
  return text
    .replace(/&#(?:x([0-9a-f]+)|(\d+));/gi, (_, hex, decimal) =>
      String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16)),
    )
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&')
}

function tag(name: string, text: string): string {
  const escaped = text.replace(/[<>&"']/g, (one) => `&#${one.charCodeAt(0)};`)
  return `<${name}>${escaped}</${name}>`
}
