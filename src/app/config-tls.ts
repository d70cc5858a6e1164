/** Looks into the files that listeners would open, so that `vspc config check` finds what `vspc serve` would. */
import { errorMessage } from '../base/index.ts'
import { ConfigError, type ConfigProblem } from '../config/index.ts'
import { loadServerTls } from '../transport/index.ts'
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
      const tls = await loadServerTls({ cert, key, ca, pin: null, servername: null, tlsMin: '1.2' }, wallMs)
      warnings.push(...tls.warnings.map((warning) => `${where}: ${warning}`))
    } catch (error) {
      problems.push({ code: 'VSPC_CONFIG_INVALID', where, line: null, column: null, message: errorMessage(error) })
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return warnings
}
