/** Who a tapped connection belongs to. Everything here comes from sockets and configuration, not from the peer. */
export interface TapConnection {
  /** Address of the peer, as shown in `vspc ports`. */
  readonly peer: string
  /** The endpoint URI of the listener or dialler. */
  readonly endpoint: string
}

/** Receives a copy of what goes over one VM connection, before decoding and after encoding. Must not throw or block. */
export interface ConnectionTap {
  /** Bytes from the VM; a view that is valid only during the call. */
  fromVm(bytes: Uint8Array): void
  /** Bytes to the VM; a view that is valid only during the call. */
  toVm(bytes: Uint8Array): void
  close(): void
}

/** Decides per connection whether it is recorded. */
export interface Tap {
  open(connection: TapConnection): ConnectionTap | null
}
