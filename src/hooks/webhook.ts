/**
 * Delivers an event with one HTTP POST. Nothing of an event decides where it goes, and a redirect is not followed: what
 * the receiver, or a VM, says never makes this server speak to anybody else.
 */
import { createHash, createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { isIP, connect as netConnect, type Socket } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { type Clock, cleanText, errorMessage, VspcError } from '../base/index.ts'
import type { Deliver, Delivery, Outcome, Webhook } from './hook.ts'

/** Of an answer no more is read: nobody needs it. */
const MAX_ANSWER_BYTES = 65_536
const MAX_SECRET_BYTES = 4_096

export function webhookDeliver(hook: Webhook, clock: Clock, userAgent: string): Deliver {
  return async (delivery, signal) => {
    const late = new AbortController()
    const timer = clock.after(hook.timeoutMs, () => late.abort())
    try {
      const headers = await headersOf(hook, delivery, clock.wall(), userAgent)
      const { statusCode = 0, headers: answer } = await post(
        hook,
        headers,
        delivery.body,
        AbortSignal.any([signal, late.signal]),
      )
      return judge(statusCode, answer['retry-after'])
    } catch (error) {
      if (late.signal.aborted) return { kind: 'retry', detail: `no answer within ${hook.timeoutMs} ms` }
      return { kind: 'retry', detail: cleanText(errorMessage(error), 300) }
    } finally {
      timer.cancel()
    }
  }
}

function judge(status: number, retryAfter: string | undefined): Outcome {
  const detail = `HTTP status ${status}`
  if (status >= 200 && status < 300) return { kind: 'delivered', detail }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const seconds = /^[0-9]{1,6}$/.test(retryAfter ?? '') ? Number(retryAfter) : 0
    return { kind: 'retry', detail, afterMs: seconds * 1_000 }
  }
  const redirect = status >= 300 && status < 400 ? ': redirects are not followed; give the address it leads to' : ''
  return { kind: 'failed', detail: `${detail}${redirect}` }
}

async function headersOf(
  hook: Webhook,
  { id, body }: Delivery,
  wallMs: number,
  agent: string,
): Promise<OutgoingHttpHeaders> {
  const timestamp = String(Math.floor(wallMs / 1_000))
  const headers: OutgoingHttpHeaders = {
    'content-type': 'application/cloudevents+json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'user-agent': agent,
    connection: 'close',
    // As https://www.standardwebhooks.com has it, so that receivers find a library.
    'webhook-id': id,
    'webhook-timestamp': timestamp,
  }
  if (hook.secretFile !== null) {
    const key = keyOf(await firstLine(hook.secretFile))
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    headers['webhook-signature'] = `v1,${signature}`
  }
  for (const [name, file] of Object.entries(hook.headerFiles)) headers[name] = await firstLine(file)
  return headers
}

/** `whsec_` and base64, as the convention writes keys; anything else counts as it is. */
function keyOf(secret: string): Buffer {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret)
}

/** @throws VspcError VSPC_HOOK_FILE, without what is in it. */
async function firstLine(file: string): Promise<string> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_HOOK_FILE', `cannot read ${file}: ${errorMessage(cause)}`, { cause })
  }
  const line = text.slice(0, MAX_SECRET_BYTES).split(/\r?\n/, 1)[0]?.trim() ?? ''
  if (!/^[\x20-\x7e]+$/.test(line)) {
    throw new VspcError('VSPC_HOOK_FILE', `the first line of ${file} is empty or holds more than printable ASCII`)
  }
  return line
}

async function post(
  hook: Webhook,
  headers: OutgoingHttpHeaders,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const socket = await dial(hook, signal)
  return await new Promise((resolve, reject) => {
    const { url } = hook
    const request = httpRequest({
      method: 'POST',
      host: hostOf(url),
      port: portOf(url),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, ...headers },
      // Only counts where there is no agent.
      createConnection: () => socket,
      signal,
    })
    let answered: IncomingMessage | null = null
    const end = (error: Error | null): void => {
      socket.destroy()
      // The status has said it all; what went wrong with the rest is nobody's loss.
      if (answered !== null) resolve(answered)
      else reject(error ?? new Error('the receiver has closed the connection'))
    }
    request.on('error', end)
    request.on('close', () => end(null))
    request.on('response', (answer) => {
      answered = answer
      let length = 0
      answer.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > MAX_ANSWER_BYTES) end(null)
      })
      answer.on('error', () => end(null))
      answer.on('close', () => end(null))
    })
    request.end(body)
  })
}

/** A connection to the receiver, who has shown the right certificate before anything is told. */
function dial(hook: Webhook, signal: AbortSignal): Promise<Socket> {
  return hook.url.protocol === 'https:'
    ? dialTls(hook, signal)
    : opened(netConnect(addressOf(hook.url)), 'connect', signal)
}

async function dialTls(hook: Webhook, signal: AbortSignal): Promise<Socket> {
  const { ca, pin, url } = hook
  const host = hostOf(url)
  const pem = ca === null ? null : await readCa(ca)
  const socket = tlsConnect({
    ...addressOf(url),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(pem === null ? {} : { ca: pem }),
    // With a pin it alone decides; it is looked at below, before a byte is sent.
    rejectUnauthorized: pin === null,
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
  })
  await opened(socket, 'secureConnect', signal)
  if (pin === null) return socket
  const shown = fingerprintOf(socket)
  if (shown === pin) return socket
  socket.destroy()
  throw new VspcError(
    'VSPC_TLS_PIN_MISMATCH',
    `the receiver shows certificate sha256:${shown}, which is not the pinned one; change pin if it was renewed`,
  )
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_HOOK_FILE', `cannot read ${file}: ${errorMessage(cause)}`, { cause })
  }
}

function fingerprintOf(socket: TLSSocket): string {
  const certificate = socket.getPeerX509Certificate()
  return certificate === undefined ? 'none' : createHash('sha256').update(certificate.raw).digest('hex')
}

function opened<S extends Socket>(socket: S, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<S> {
  return new Promise((resolve, reject) => {
    const give = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => give(signal.reason)
    // Stays on: whoever has the socket later hears of errors through the request.
    socket.on('error', give)
    socket.once(event, () => {
      signal.removeEventListener('abort', onAbort)
      resolve(socket)
    })
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '')
}

function portOf(url: URL): number {
  return Number(url.port || (url.protocol === 'https:' ? 443 : 80))
}

function addressOf(url: URL): { host: string; port: number } {
  return { host: hostOf(url), port: portOf(url) }
}
