/** The judge's way to consoles of a server of ours: the same WebSocket that `vspc attach` uses. */
import { systemClock, VspcError } from '../base/index.ts'
import { type ConsoleConnection, type ServerAddress, webSocketConsoles } from '../client/index.ts'
import type { CheckConsoles, CheckedVm, ConsoleLink, ConsoleListener } from '../sim/index.ts'

export function webConsoles(address: ServerAddress): CheckConsoles {
  return {
    address: address.url.origin,
    single: false,
    attach: (vm, listener) => attach(address, vm, listener),
  }
}

/** Resolves once the server says `attached`. */
function attach(address: ServerAddress, vm: CheckedVm, listener: ConsoleListener): Promise<ConsoleLink> {
  return new Promise((resolve, reject) => {
    const target = { port: vm.uuid, mode: 'write', from: null, force: false } as const
    let attached = false
    const connection: ConsoleConnection = webSocketConsoles(address, systemClock)(target, {
      output: (bytes) => listener.data(bytes),
      drained: () => {},
      message: (message) => {
        if (message.type === 'attached' && !attached) {
          attached = true
          resolve({ write: (bytes) => void connection.send(bytes), close: () => connection.close() })
        } else if (message.type === 'gap') {
          listener.closed(`the server says that ${message.bytes} bytes are lost to the console`)
        }
      },
      closed: (error) => {
        if (attached) listener.closed(error.message)
        else reject(new VspcError(error.code, `no console: ${error.message}`, { cause: error }))
      },
    })
  })
}
