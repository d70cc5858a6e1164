/** Looks into the files that listeners would open, so that `vspc config check` finds what `vspc serve` would. */
import { errorMessage } from '../base/index.ts'
import { ConfigError, type ConfigProblem } from '../config/index.ts'
import { loadServerTls, type TlsParameters } from '../transport/index.ts'
import type { Config } from './config.ts'

/**
 * Tries certificate and key of every VM listener, and those of HTTPS.
 * @param wallMs now, for expiry.
 * @returns warnings, such as an expired certificate.
 * @throws ConfigError with all problems.
 */
export async function checkTlsFiles(config: Config, wallMs: number): Promise<string[]> {
  const problems: ConfigProblem[] = []
  const warnings: string[] = []
  for (const [index, endpoint] of config.listen.entries()) {
    if (!('tls' in endpoint) || endpoint.tls === null) continue
    const where = `${config.file === null ? '' : `${config.file}: `}listen[${index}]`
    try {
      const tls = await loadServerTls(endpoint.tls, wallMs)
      warnings.push(...tls.warnings.map((warning) => `${where}: ${warning}`))
    } catch (error) {
      problems.push({ code: 'VSPC_CONFIG_INVALID', where, line: null, column: null, message: errorMessage(error) })
    }
  }
  if (config.http !== null && config.https !== null) {
    const { cert, key, clientCa: ca } = config.https
    const where = `${config.file === null ? '' : `${config.file}: `}httpCert`
    try {
      const tls = await loadServerTls({ ...serverFiles(cert, key), ca }, wallMs)
      warnings.push(...tls.warnings.map((warning) => `${where}: ${warning}`))
    } catch (error) {
      problems.push({ code: 'VSPC_CONFIG_INVALID', where, line: null, column: null, message: errorMessage(error) })
    }
  }
  if (config.telnet !== null && config.telnet.cert !== null) {
    const { cert, key } = config.telnet
    const where = `${config.file === null ? '' : `${config.file}: `}telnet.cert`
    try {
      const tls = await loadServerTls(serverFiles(cert, key), wallMs)
      warnings.push(...tls.warnings.map((warning) => `${where}: ${warning}`))
    } catch (error) {
      problems.push({ code: 'VSPC_CONFIG_INVALID', where, line: null, column: null, message: errorMessage(error) })
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return warnings
}

/** A server of people: whoever connects need not show a certificate. */
export function serverFiles(cert: string | null, key: string | null): TlsParameters {
  return { cert, key, ca: null, pin: null, servername: null, tlsMin: '1.2' }
}
