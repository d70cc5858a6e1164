import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { TestCertificates } from '../support/certificates.ts'
import { VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'
import { describeWithPeers, peerPath } from '../support/peers.ts'

const certificates = TestCertificates.create()
afterAll(async () => (await certificates).remove())

/** A program that runs until the test ends, and what it has said. */
class Program {
  readonly child: ChildProcess
  said = ''

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome(), PYTHONUNBUFFERED: '1' },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    onTestFinished(() => void this.child.kill('SIGKILL'))
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.said += chunk.toString('latin1')
        this.child.emit('said')
      })
    }
  }

  async says(pattern: RegExp): Promise<string> {
    const signal = AbortSignal.timeout(15_000)
    for (;;) {
      const match = pattern.exec(this.said)
      if (match) return match[1] ?? match[0]
      await once(this.child, 'said', { signal }).catch(() => {
        throw new Error(`never said ${pattern}: ${this.said}`)
      })
    }
  }
}

async function serve(...args: string[]): Promise<{ vspc: Program; vm: Socket }> {
  const vspc = new Program(process.execPath, [
    VSPC_BIN,
    'serve',
    ...['--http', 'off', '--history', 'memory', '--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1', ...args],
  ])
  const port = await vspc.says(/listening on tcp:\/\/127\.0\.0\.1:(\d+)/)
  const vm = connect({ port: Number(port), host: '127.0.0.1' })
  onTestFinished(() => void vm.destroy())
  vm.on('error', () => {})
  return { vspc, vm }
}

async function stop({ child }: Program): Promise<unknown> {
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  return (await closed)[0]
}

describeWithPeers(['openssl'], 'TLS over the serial line, to a real openssl', () => {
  test('a guest reaches a program that is dialled: the handshake, and a page, over 8-bit clean bytes', async () => {
    const { cert, key } = await (await certificates).selfSigned('agent')
    const openssl = new Program(peerPath('openssl'), [
      's_server',
      '-accept',
      '127.0.0.1:0',
      '-www',
      '-cert',
      cert,
      '-key',
      key,
    ])
    const tcpPort = await openssl.says(/ACCEPT 127\.0\.0\.1:(\d+)/)
    const { vspc, vm } = await serve('--forward', `vm1=tcp://127.0.0.1:${tcpPort}`)
    await vspc.says(/forward connected/)
    const guest = connectTls({ socket: vm, rejectUnauthorized: false })
    let page = ''
    guest.on('data', (chunk: Buffer) => {
      page += chunk.toString('latin1')
    })
    guest.on('error', () => {})
    await once(guest, 'secureConnect')
    guest.write('GET / HTTP/1.0\r\n\r\n')
    // s_server says goodbye after each page; the line goes on, to its next connection.
    await vspc.says(/forward disconnected/)
    await expect.poll(() => page).toMatch(/HTTP\/1\.0 200 ok[\s\S]*s_server -accept[\s\S]*<\/HTML>/i)
    expect(await stop(vspc)).toBe(0)
  })
})

const CLIENT = `
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
line.sendall(bytes(range(256)))
line.shutdown(socket.SHUT_WR)
got = b''
while chunk := line.recv(65536):
    got += chunk
print('got', len(got), got == bytes(range(256)) * 256)
`

describeWithPeers(['python3'], 'a real program at the socket of a port', () => {
  test('says all it has, half-closes, reads the whole answer, and sees the end when the server stops', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'vspc-fwd-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    const { vspc, vm } = await serve('--forward', `*=unix://${dir}/{name}.sock`)
    await vspc.says(/forward: listening/)
    expect(existsSync(`${dir}/vm1.sock`)).toBe(true)
    const client = new Program(peerPath('python3'), ['-c', CLIENT, `${dir}/vm1.sock`])
    const heard: Buffer[] = []
    vm.on('data', (chunk: Buffer) => heard.push(chunk))
    await expect.poll(() => Buffer.concat(heard).length).toBe(256)
    expect(new Uint8Array(Buffer.concat(heard))).toEqual(Uint8Array.from({ length: 256 }, (_, i) => i))
    vm.write(Buffer.concat(Array(256).fill(Buffer.concat(heard))))
    vm.end()
    await vspc.says(/port offline/)
    expect(await stop(vspc)).toBe(0)
    expect(await client.says(/got .*/)).toBe('got 65536 True')
  })
})
