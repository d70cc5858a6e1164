/** For the browser tests: a real Chromium, and everything a page does that it should not. */
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, vi } from 'vitest'
import { parseSimTarget, type SimHost, SimVm, type SimVmOptions } from '../../src/sim/index.ts'
import { type AppUnderTest, eventually } from '../app/support.ts'
import { peerPath } from '../support/peers.ts'

// A browser and a server on two cores that others use, too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

/** Of what comes over WebSockets. */
const KEPT_BYTES = 64 << 20

/** As `expect.poll`, with a patience that fits. */
export function soon<Value>(look: () => Value | Promise<Value>): ReturnType<typeof expect.poll<Value>> {
  return expect.poll(look, { timeout: 20_000, interval: 50 })
}

export const HOSTS = [
  { name: 'esx-01', localAddress: '127.0.1.1' },
  { name: 'esx-02', localAddress: '127.0.1.2' },
] as const satisfies readonly SimHost[]

/** One browser for the tests of a file; each page gets a profile of its own. */
export function withBrowser(): (app: AppUnderTest, options?: BrowserContextOptions) => Promise<Tab> {
  let browser: Browser | null = null
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: peerPath('chromium'), args: ['--no-sandbox'] })
  })
  afterAll(() => browser?.close())
  return async (app, options = {}) => {
    const context = await (browser as Browser).newContext({ viewport: { width: 1_280, height: 720 }, ...options })
    onTestFinished(() => context.close())
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    return new Tab(page, app.url)
  }
}

/** A page, and what it did. */
export class Tab {
  readonly page: Page
  /** Where `goto` starts: the server, or a proxy in front of it. */
  base: string
  /** Messages of the console, uncaught errors and violations of the policy: there must be none. */
  readonly faults: string[] = []
  /** Faults that a test brings about on purpose. */
  readonly expected: RegExp[] = []
  readonly strangers: string[] = []
  /** Console bytes over all WebSockets, as they came and went. */
  readonly #received: Buffer[] = []
  readonly sent: string[] = []
  receivedBytes = 0
  sockets = 0

  constructor(page: Page, base: string) {
    this.page = page
    this.base = base
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.faults.push(message.text())
    })
    page.on('pageerror', (error) => this.faults.push(String(error.stack)))
    page.on('request', (request) => this.#origin(request.url()))
    page.on('websocket', (socket) => {
      this.sockets++
      this.#origin(socket.url())
      socket.on('framereceived', ({ payload }) => {
        if (typeof payload === 'string') return
        this.receivedBytes += payload.length
        if (this.receivedBytes < KEPT_BYTES) this.#received.push(payload)
      })
      socket.on('framesent', ({ payload }) => {
        if (typeof payload !== 'string') this.sent.push(payload.toString('latin1'))
      })
    })
    onTestFinished(() => this.check())
  }

  /** @throws Error when it was too much to keep. */
  get received(): Buffer {
    if (this.receivedBytes >= KEPT_BYTES) throw new Error(`${this.receivedBytes} bytes came, too many to keep`)
    return Buffer.concat(this.#received)
  }

  /** Nothing went wrong so far. */
  check(): void {
    expect(this.faults.filter((fault) => !this.expected.some((one) => one.test(fault)))).toEqual([])
    expect(this.strangers).toEqual([])
  }

  async open(place = ''): Promise<void> {
    await this.page.goto(`${this.base}/${place}`)
  }

  /** Opens a port's console and waits until it shows live output. */
  async openConsole(port: string): Promise<void> {
    await this.open(`#/ports/${encodeURIComponent(port)}`)
    await this.live()
  }

  async live(): Promise<void> {
    await this.page.locator('.status .link.live').waitFor()
  }

  async startTyping(): Promise<void> {
    await this.page.getByRole('button', { name: 'Start typing' }).click()
    await this.page.locator('.typing[aria-pressed="true"]').waitFor()
  }

  async type(text: string): Promise<void> {
    await this.page.locator('.xterm-helper-textarea').focus()
    await this.page.keyboard.type(text)
  }

  /** What the terminal shows, with blanks that do not break as plain ones. */
  async shown(): Promise<string> {
    const rows = await this.page.locator('.xterm-rows > div').allInnerTexts()
    return rows.map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).join('\n')
  }

  async shows(text: string, timeout = 20_000): Promise<void> {
    await vi.waitFor(async () => expect(await this.shown()).toContain(text), { timeout, interval: 50 })
  }

  async news(text: string | RegExp): Promise<void> {
    await this.page.locator('.status .news').filter({ hasText: text }).waitFor()
  }

  /** Offset of the next byte, as the page counts. */
  async offset(): Promise<number> {
    return Number(await this.page.locator('.status .figures').getAttribute('data-offset'))
  }

  button(name: string | RegExp): Locator {
    return this.page.getByRole('button', { name })
  }

  /** From now on: for how long the page was too busy to do anything else. In milliseconds. */
  async watchBusy(): Promise<() => Promise<number>> {
    await this.page.evaluate(`{
      let last = performance.now()
      window.longestBusy = 0
      setInterval(() => {
        window.longestBusy = Math.max(window.longestBusy, performance.now() - last)
        last = performance.now()
      }, 10)
    }`)
    return () => this.page.evaluate('window.longestBusy')
  }

  /** Serious and critical findings of axe, as "rule: element". */
  async violations(): Promise<string[]> {
    // In the page's own world a policy would forbid it; this is the debugger's way in.
    await this.page.evaluate(axe.source)
    const found = (await this.page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as AxeAnswer
    return found.violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
  }

  #origin(url: string): void {
    if (new URL(url).host !== new URL(this.base).host) this.strangers.push(url)
  }
}

interface AxeAnswer {
  violations: { id: string; impact: string; nodes: { html: string }[] }[]
}

/** A VM on the first host, connected; closed when the test ends. */
export async function startVm(app: AppUnderTest, options: Omit<SimVmOptions, 'target'>): Promise<SimVm> {
  const vm = new SimVm({ host: HOSTS[0], redialMs: 100, ...options, target: parseSimTarget(app.listening[0] ?? '') })
  onTestFinished(() => vm.close())
  await vm.powerOn()
  // Its name comes after the connection.
  await eventually(() => [...app.server.table].some((port) => port.name === options.name))
  return vm
}

/** The history of a port from an offset on. */
export async function logOf(app: AppUnderTest, port: string, start: number): Promise<Buffer> {
  const answer = await fetch(`${app.url}/api/v1/ports/${encodeURIComponent(port)}/log?start=${start}`)
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}
