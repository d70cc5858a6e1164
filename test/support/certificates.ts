/** Test certificates, made fresh by the `openssl` command in a temporary directory: no key is ever committed. */
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
  /** SHA-256 of the DER certificate, hex. */
  readonly sha256: string
}

export class TestCertificates {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  static async create(): Promise<TestCertificates> {
    return new TestCertificates(await mkdtemp(join(tmpdir(), 'vspc-certificates-')))
  }

  /**
   * A self-signed certificate for `localhost` and 127.0.0.1 (or `altNames`). `expired`: it ran out long ago.
   */
  async selfSigned(
    name: string,
    options: { altNames?: string; expired?: boolean; passphrase?: string } = {},
  ): Promise<CertificateFiles> {
    const cert = join(this.directory, `${name}.crt`)
    const key = join(this.directory, `${name}.key`)
    const altNames = options.altNames ?? 'DNS:localhost,IP:127.0.0.1'
    const protection = options.passphrase === undefined ? ['-nodes'] : ['-passout', `pass:${options.passphrase}`]
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${altNames}`]
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', key, ...protection]
    if (options.expired === true) {
      const request = join(this.directory, `${name}.csr`)
      await run('openssl', ['req', '-new', ...newKey, ...subject, '-out', request])
      // `openssl x509` of version 3.0 knows no dates, only `openssl ca` does.
      const config = join(this.directory, `${name}.cnf`)
      const database = join(this.directory, `${name}.db`)
      await writeFile(database, '')
      await writeFile(
        config,
        `[ca]\ndefault_ca=d\n[d]\ndatabase=${database}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n` +
          `new_certs_dir=${this.directory}\n[p]\ncommonName=supplied\n`,
      )
      const dates = ['-startdate', '20000101000000Z', '-enddate', '20010101000000Z']
      await run('openssl', [
        'ca',
        '-batch',
        '-config',
        config,
        '-selfsign',
        '-keyfile',
        key,
        ...dates,
        '-notext',
        '-in',
        request,
        '-out',
        cert,
      ])
    } else {
      await run('openssl', ['req', '-x509', '-days', '2', ...newKey, ...subject, '-out', cert])
    }
    const sha256 = new X509Certificate(await readFile(cert)).fingerprint256.replaceAll(':', '').toLowerCase()
    return { cert, key, sha256 }
  }

  /** A certificate that `ca` (a self-signed one) has issued. `usage`: what it is good for, by default everything. */
  async issued(
    name: string,
    ca: CertificateFiles,
    options: { subject?: string; expired?: boolean; usage?: 'clientAuth' | 'serverAuth' } = {},
  ): Promise<CertificateFiles> {
    const file = (ending: string) => join(this.directory, `${name}.${ending}`)
    const [cert, key, request, config] = [file('crt'), file('key'), file('csr'), file('cnf')]
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-keyout', key, '-nodes']
    await run('openssl', ['req', '-new', ...newKey, '-subj', options.subject ?? `/CN=${name}`, '-out', request])
    await writeFile(file('db'), '')
    await writeFile(
      config,
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${file('db')}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n` +
        `new_certs_dir=${this.directory}\nx509_extensions=x\nunique_subject=no\n` +
        '[p]\ncommonName=supplied\norganizationName=optional\n' +
        `[x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n${options.usage ? `extendedKeyUsage=${options.usage}\n` : ''}`,
    )
    const dates = options.expired ? ['-startdate', '20000101000000Z', '-enddate', '20010101000000Z'] : ['-days', '2']
    const signer = ['-config', config, '-cert', ca.cert, '-keyfile', ca.key]
    await run('openssl', ['ca', '-batch', '-notext', ...signer, ...dates, '-in', request, '-out', cert])
    const sha256 = new X509Certificate(await readFile(cert)).fingerprint256.replaceAll(':', '').toLowerCase()
    return { cert, key, sha256 }
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true })
  }
}
