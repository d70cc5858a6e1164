import { VspcError } from '../base/index.ts'

export const DEFAULT_SERVER = 'http://127.0.0.1:13371'

/** Where the server is and how to speak to it. */
export interface ServerAddress {
  /** `http:` or `https:`, without user, query and fragment; the path ends without a slash. */
  readonly url: URL
  readonly token: string | null
  /** PEM text of the authorities to trust instead of the system's. */
  readonly ca: string | null
  /** What is shown to servers that ask for a certificate: PEM texts. */
  readonly identity?: ClientIdentity
}

export interface ClientIdentity {
  readonly cert: string
  readonly key: string
}

/** For node:https and ws. */
export function tlsOptionsOf({ ca, identity }: ServerAddress): { ca?: string; cert?: string; key?: string } {
  return { ...(ca === null ? {} : { ca }), ...identity }
}

/** @throws VspcError VSPC_USAGE naming `source`, where the text came from. */
export function parseServerUrl(text: string, source: string): URL {
  const wanted = `such as ${DEFAULT_SERVER} or https://vspc.example.com`
  if (!/^https?:\/\/./i.test(text)) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" is no http:// or https:// address: give one ${wanted}`)
  }
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" is no valid address: give one ${wanted}`, { cause })
  }
  if (url.username || url.password) {
    throw new VspcError('VSPC_USAGE', `${source}: no user or password in the address: use --token-file`)
  }
  if (url.search || url.hash) {
    throw new VspcError('VSPC_USAGE', `${source}: "${text}" has a query or fragment: give the address alone, ${wanted}`)
  }
  url.pathname = url.pathname.replace(/\/+$/, '')
  return url
}

/** The token, trimmed. It stays out of every message itself. @throws VspcError VSPC_USAGE naming `source`. */
export function checkToken(text: string, source: string): string {
  const token = text.trim()
  if (!/^[\x21-\x7e]+$/.test(token)) {
    const fault = token === '' ? 'is empty' : 'holds spaces, line breaks or other characters that no token has'
    throw new VspcError('VSPC_USAGE', `${source} ${fault}`)
  }
  return token
}
