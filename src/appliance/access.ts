/** Logging in to a vSphere API, with a password that stays in its file. */
import { statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type Clock, cleanText, errorMessage, type Logger, VspcError } from '../base/index.ts'
import type { Endpoint } from '../transport/index.ts'
import { connect, type LoginGuard, VsphereFault, type VsphereSession } from '../vsphere/index.ts'

/** Everything checked. The password itself is not here: it is read from its file at each login, and not kept. */
export interface VsphereAccess {
  readonly url: string
  readonly user: string
  readonly passwordFile: string
  /** PEM file; null: the authorities that Node comes with. */
  readonly ca: string | null
  /** 64 lower-case hex digits. */
  readonly pin: string | null
  readonly dial: Endpoint | null
}

export interface AccessOptions {
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly log: Logger
  /** Of whoever logs in again and again: knows of logins that were refused before. */
  readonly guard?: LoginGuard
}

/** Logs in; the caller closes the session. @throws as {@link connect}; VSPC_USAGE for a password that is not there. */
export async function connectVsphere(access: VsphereAccess, options: AccessOptions): Promise<VsphereSession> {
  const { url, user, passwordFile, ca, pin, dial } = access
  try {
    return await connect({ ...options, url, user, ca, pin, dial, password: () => readPassword(passwordFile) })
  } catch (error) {
    if (!(error instanceof VsphereFault) || error.code !== 'VSPC_VSPHERE_LOGIN') throw error
    const hint = `check the user, and the password in ${cleanText(passwordFile, 300)}`
    throw new VsphereFault(error.code, error.fault, `${error.message}; ${hint}`)
  }
}

/** What whoever runs this should hear about the file; null = nothing. */
export function passwordFileWarning({ passwordFile }: VsphereAccess): string | null {
  if ((statSync(passwordFile).mode & 0o004) === 0) return null
  return `every user of this machine may read ${cleanText(passwordFile, 300)}: chmod 600 it`
}

async function readPassword(file: string): Promise<string> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new VspcError('VSPC_USAGE', `cannot read the password: ${errorMessage(cause)}`, { cause })
  }
  // An editor ends the line.
  const password = text.replace(/\r?\n$/, '')
  if (password === '')
    throw new VspcError('VSPC_USAGE', `${cleanText(file, 300)} is empty; it has to hold the password`)
  return password
}
