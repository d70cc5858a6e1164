/** What `vspc doctor` has found out, as plain data: the checks decide by this alone. Pure. */
import type { HealthInfo, PortInfo } from '../app/index.ts'
import { type ErrorCode, errorMessage, VspcError } from '../base/index.ts'
import type { FirewallRuleset, SerialPort } from '../vsphere/index.ts'

/** Something that was asked for: the answer, or why there is none. */
export type Asked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode | null; readonly message: string }

export function answered<T>(value: T): Asked<T> {
  return { ok: true, value }
}

export function unanswered(error: unknown): Asked<never> {
  return { ok: false, code: error instanceof VspcError ? error.code : null, message: errorMessage(error) }
}

/** Never fails: that something cannot be found out is a fact, too. */
export async function ask<T>(work: () => T | Promise<T>): Promise<Asked<T>> {
  try {
    return answered(await work())
  } catch (error) {
    return unanswered(error)
  }
}

/** Of this machine, and of the configuration that a server started here would have. */
export interface LocalFacts {
  /** `20.20.2`. */
  readonly node: string
  /** The oldest one that will do: `20.19`. */
  readonly neededNode: string
  /** Null: not known, or without limit. */
  readonly openFiles: number | null
  /** Whether a vsock: endpoint could be listened on. */
  readonly vsock: Asked<null>
  readonly config: Asked<ConfigFacts>
  /** Its addresses, loopback and link-local ones left out. */
  readonly addresses: readonly string[]
}

export interface ConfigFacts {
  /** Null: none. */
  readonly file: string | null
  /** Endpoints for VMs, as URIs. */
  readonly listen: readonly string[]
  readonly keepsHistory: boolean
  readonly dataDir: string
  readonly dataDirUsable: Asked<null>
  /** What is odd about certificates and keys of listeners; null where there are none. */
  readonly tls: Asked<readonly string[] | null>
}

export interface HealthFacts {
  readonly info: HealthInfo
  /** How far its clock is ahead of ours, and how long the question took. Milliseconds. */
  readonly aheadMs: number
  readonly tookMs: number
}

export interface ServerFacts {
  readonly url: string
  readonly ready: Asked<null>
  readonly ports: Asked<readonly PortInfo[]>
  readonly health: Asked<HealthFacts>
  /** Only of a server on this machine. By URI as it says itself, or, where it does not, as configured here. */
  readonly listeners: ReadonlyMap<string, Asked<null>>
}

export interface VsphereFacts {
  readonly url: string
  readonly user: string
  /** `VMware vCenter Server 8.0.3`. */
  readonly product: string
  readonly isVcenter: boolean
  /** What is wrong with the password's file; null = nothing. */
  readonly passwordWarning: string | null
  /** How far the server's clock is ahead of ours, and how long the question took. Milliseconds. */
  readonly clock: Asked<{ readonly aheadMs: number; readonly tookMs: number }>
  /** Of vCenter; null = not set. */
  readonly persistBacking: Asked<string | null>
}

export interface HostFacts {
  readonly name: string
  readonly managementIps: readonly string[]
  /** As vCenter sees it: `connected`. */
  readonly connection: Asked<string | null>
  /** Null: it does not tell. */
  readonly firewall: Asked<readonly FirewallRuleset[] | null>
}

export interface VmFacts {
  readonly name: string
  readonly instanceUuid: string | null
  readonly biosUuid: string | null
  /** `poweredOn`, `poweredOff`, `suspended`. */
  readonly power: string
  readonly ports: readonly SerialPort[]
  /** Null: it has none just now. */
  readonly host: Asked<HostFacts | null>
  /** Where the proxyURIs lead to, seen from here; by proxyURI. */
  readonly proxies: ReadonlyMap<string, ProxyFacts>
}

export interface ProxyFacts {
  readonly host: string
  readonly tcpPort: number
  readonly addresses: Asked<readonly string[]>
  /** Whether it takes connections from here. */
  readonly reached: Asked<null>
}

/** The host that the appliance runs on. */
export interface ApplianceFacts {
  readonly vm: string
  readonly host: string
  readonly managementIps: readonly string[]
}

export interface Facts {
  readonly local: LocalFacts
  readonly server: ServerFacts
  /** Null: nobody said where it is. */
  readonly vsphere: Asked<VsphereFacts> | null
  /** As given; null = none. */
  readonly wanted: string | null
  /** Null: not asked for, or nobody to ask. */
  readonly vm: Asked<VmFacts> | null
  /** Null: nobody knows which VM it is. */
  readonly appliance: Asked<ApplianceFacts | null> | null
}
