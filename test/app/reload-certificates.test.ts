import { once } from 'node:events'
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig, start } from '../../src/app/index.ts'
import type { TlsEndpoint } from '../../src/transport/index.ts'
import { TestCertificates } from '../support/certificates.ts'
import { eventually } from '../vspc/loopback.ts'
import { LogLines } from '../vspc/support.ts'

async function shown(tcpPort: number): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: tcpPort, rejectUnauthorized: false })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

const nameOf = (socket: TLSSocket): unknown => socket.getPeerCertificate().subject.CN

test('a reload reads certificates again, even if nothing else may change; broken ones are said and change nothing', async () => {
  const certificates = await TestCertificates.create()
  onTestFinished(() => certificates.remove())
  const [cert, key] = [join(certificates.directory, 'live.crt'), join(certificates.directory, 'live.key')]
  const use = async (name: string): Promise<void> => {
    const files = await certificates.selfSigned(name)
    await copyFile(files.cert, cert)
    await copyFile(files.key, key)
  }
  await use('one')
  const log = new LogLines()
  const flags = { listen: [`tls://127.0.0.1:0?cert=${cert}&key=${key}`], http: 'off', history: 'memory' as const }
  const app = await start(loadConfig({ env: {}, flags }), {
    log: Object.assign(log.logger, { setLevel: () => {} }) as never,
  })
  onTestFinished(() => app.stop())
  const { tcpPort } = app.server.listening[0] as TlsEndpoint
  const first = await shown(tcpPort)
  expect(nameOf(first)).toBe('one')

  await use('two')
  app.reload(loadConfig({ env: {}, flags }))
  await eventually('they are read again', () => log.matching(/certificates read again/).length === 1)
  expect(nameOf(await shown(tcpPort))).toBe('two')
  expect(first.destroyed).toBe(false)

  await writeFile(key, 'no key')
  expect(app.reload(loadConfig({ env: {}, flags: { ...flags, http: '127.0.0.1:0' } })).needRestart).toEqual(['http'])
  await eventually('they are refused', () => log.matching(/^error certificates not read again/).length === 1)
  expect(log.matching(/live\.key: it holds no private key/)).toHaveLength(1)
  expect(nameOf(await shown(tcpPort))).toBe('two')
})
