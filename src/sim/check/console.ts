/** How the judge reaches a port's console: a seam, for src/sim knows no server's HTTP. */

/** The VM whose console is wanted. */
export interface CheckedVm {
  readonly name: string
  /** Canonical: lower case, 8-4-4-4-12. */
  readonly uuid: string
}

export interface ConsoleListener {
  /** Console output; the bytes are the listener's. */
  data(bytes: Uint8Array): void
  /** The console ended by itself. */
  closed(why: string): void
}

export interface ConsoleLink {
  /** Types; everything is sent, in order, however slow the server reads. */
  write(bytes: Uint8Array): void
  /** Resolves when it is gone; the listener hears nothing more. */
  close(): Promise<void>
}

/** A way to consoles, lent to the judge. */
export interface CheckConsoles {
  /** For the report: `http://127.0.0.1:13371`. */
  readonly address: string
  /** One console port for one VM: every check then uses the same VM. False: a console for each VM. */
  readonly single: boolean
  /** Attaches to read and write, live from now; the VM is connected already. */
  attach(vm: CheckedVm, listener: ConsoleListener): Promise<ConsoleLink>
}
