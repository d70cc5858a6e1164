import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { eventually, RawVm } from '../support.ts'
import { startGuarded, TokenFile } from './support.ts'

/** Sends a request and resets the connection, while this process, the server, looks elsewhere: Node's client cannot. */
const SEND_AND_RESET = `
import socket, struct, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.sendall(sys.argv[2].encode())
s.close()
`

test('who is gone before being asked for an address is nobody, and not the proxy on a Unix socket', async () => {
  const app = await startGuarded(new TokenFile(), {
    rules: [{ who: ['user:root'], role: 'admin' }],
    proxies: { trusted: ['unix'] },
  })
  const vm = await RawVm.connect(app)
  await vm.print(app, 'kept\n')
  vm.socket.destroy()
  await eventually(() => app.server.table.resolve('vm1').state === 'offline')

  const request =
    'DELETE /api/v1/ports/vm1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-User: root\r\nConnection: close\r\n\r\n'
  const { status, stderr } = spawnSync('python3', ['-c', SEND_AND_RESET, String(app.http?.tcpPort), request])
  expect(status, String(stderr)).toBe(0)
  // It was heard, as what came from nobody.
  await eventually(
    () => app.server.table.size === 0 || app.logged.find('it does not come from a trusted proxy') !== undefined,
  )
  expect(app.server.table.size).toBe(1)
})
