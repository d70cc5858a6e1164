import { describe, expect, test } from 'vitest'
import { checkBinding } from '../../../src/app/access/binding.ts'
import { guardRequest, PublicNames, parsePublicName } from '../../../src/app/http-guard.ts'
import { type Config, effectiveSettings, loadConfig, type Settings, start } from '../../../src/app/index.ts'

const load = (flags: Settings): Config => loadConfig({ env: {}, flags, directory: '/etc/vspc' })
const TLS = { httpCert: 'crt.pem', httpKey: 'key.pem' }
const REMOTE = { http: '0.0.0.0:0' }

function refusal(flags: Settings): { code: string; message: string } {
  try {
    load(flags)
  } catch (error) {
    return error as { code: string; message: string }
  }
  return { code: 'accepted', message: '' }
}

describe('an address that others reach', () => {
  test.each([
    ['nothing', REMOTE, /nothing says who may use it.*--tokens FILE.*--http-cert FILE --http-key FILE.*ssh -L/],
    ['TLS alone', { ...REMOTE, ...TLS }, /nothing says who may use it/],
    ['an audit log alone', { ...REMOTE, ...TLS, access: { audit: { file: 'a' } } }, /nothing says who may use it/],
    ['--http-plain alone', { ...REMOTE, httpPlain: true }, /nothing says who may use it/],
    ['tokens alone', { ...REMOTE, access: { tokens: 't' } }, /without TLS: .*--http-cert FILE.*--http-plain/],
    [
      'anyone who may type',
      { ...REMOTE, ...TLS, access: { rules: [{ who: ['authenticated', 'anyone'], can: ['write'] }] } },
      /access\.rules\[0\] gives anyone more than to read/,
    ],
  ] as [string, Settings, RegExp][])('with %s is refused, and what is missing is named', (_what, flags, message) => {
    expect(refusal(flags)).toMatchObject({ code: 'VSPC_HTTP_UNSAFE_BIND', message: expect.stringMatching(message) })
  })

  test.each([
    ['tokens and TLS', { ...REMOTE, ...TLS, access: { tokens: 't' } }],
    ['tokens and a proxy that does TLS', { ...REMOTE, httpPlain: true, access: { tokens: 't' } }],
    ['certificates of clients', { ...REMOTE, ...TLS, httpClientCa: 'ca.pem' }],
    ['anyone who may look', { ...REMOTE, ...TLS, access: { rules: [{ who: ['anyone'], can: ['read'] }] } }],
    ['anyone, on loopback', { http: '127.0.0.1:0', access: { rules: [{ who: ['anyone'], role: 'admin' }] } }],
  ] as [string, Settings][])('with %s is taken', (_what, flags) => {
    expect(refusal(flags).code).toBe('accepted')
  })

  test('a configuration that comes from elsewhere is looked at again at the start', async () => {
    const config = { ...load({ history: 'memory' }), http: { host: '0.0.0.0', tcpPort: 0 } }
    expect(() => checkBinding(config)).toThrow(expect.objectContaining({ code: 'VSPC_HTTP_UNSAFE_BIND' }))
    await expect(start(config)).rejects.toMatchObject({ code: 'VSPC_HTTP_UNSAFE_BIND' })
  })
})

describe('settings of HTTPS and access', () => {
  test.each([
    [{ httpCert: 'c' }, /--http-cert: httpCert needs its key/],
    [{ httpKey: 'k' }, /--http-key: httpKey needs its certificate/],
    [{ httpClientCa: 'ca' }, /httpClientCa needs HTTPS/],
    [{ access: { certificates: {} } }, /access\.certificates needs httpClientCa/],
    [{ access: { proxies: {} } }, /access\.proxies trusts nobody/],
    [{ access: { proxies: { trusted: ['certificate'] } } }, /"certificate" is no proxy/],
    [{ access: { proxies: { trusted: ['unix'], userHeader: 'x y' } } }, /"x y" is no name of a header/],
    [{ access: { tokens: ' ' } }, /--tokens: access\.tokens is empty/],
    [{ access: { rules: [{ who: ['user:a'], role: 'x' }] } }, /there is no role "x"/],
    [
      { httpNames: ['https://vspc.example.com'] },
      /--http-name: "https:\/\/vspc\.example\.com" is no name of this server/,
    ],
  ] as [Settings, RegExp][])('%j is refused', (flags, message) => {
    expect(refusal(flags).message).toMatch(message)
  })

  test('nothing configured is no access control; flags, environment and file are laid over each other', () => {
    expect(load({})).toMatchObject({ access: null, audit: null, https: null })
    const env = { VSPC_TOKENS: 'from-env.json' }
    const config = loadConfig({ env, flags: { access: { audit: { file: 'a.jsonl' } } }, directory: '/etc/vspc' })
    expect([config.access?.tokens, config.audit?.file]).toEqual(['/etc/vspc/from-env.json', '/etc/vspc/a.jsonl'])
    expect(load({ access: { rules: [] } }).access).toMatchObject({ tokensIsDefault: true })
  })

  test('what is in force can be loaded again', () => {
    const flags: Settings = {
      ...TLS,
      httpClientCa: 'ca.pem',
      httpNames: ['vspc.example.com'],
      access: {
        tokens: 't.json',
        roles: { night: ['read', 'break'] },
        rules: [{ who: ['group:night'], role: 'night', ports: ['web*'] }],
        certificates: { user: 'email' },
        proxies: { trusted: ['10.0.0.0/8'] },
        audit: { file: 'a.jsonl', keptFiles: 2 },
        failures: { burst: 3 },
      },
    }
    const settings = effectiveSettings(load(flags))
    expect(effectiveSettings(load(settings))).toEqual(settings)
    expect(JSON.stringify(load(settings).access?.rules.policy)).toBe(JSON.stringify(load(flags).access?.rules.policy))
    const bare = effectiveSettings(load({ access: { rules: [] } }))
    expect(effectiveSettings(load(bare))).toEqual(bare)
  })
})

describe('what a page of another site has a browser load without an Origin', () => {
  const passes = (site: string, dest: string) => {
    const headers = { host: 'localhost:1', 'sec-fetch-site': site, 'sec-fetch-dest': dest }
    return () => guardRequest('GET', headers, false)
  }

  test.each(['image', 'iframe', 'script', 'empty', 'style'])(
    '%s is refused: a search would cost us all the same',
    (dest) => {
      expect(passes('cross-site', dest)).toThrow(/pages of another site may not use this server/)
    },
  )

  test.each([
    ['cross-site', 'document'],
    ['same-origin', 'empty'],
    ['same-site', 'empty'],
    ['none', 'document'],
  ])('%s, %s passes: links lead here, and our own page', (site, dest) => expect(passes(site, dest)).not.toThrow())
})

describe('names of this server', () => {
  const names = new PublicNames(['vspc.example.com', 'vspc.example.com:8443'], ['*.corp.example'], true)
  const status = (host: string, origin?: string): number | null => {
    try {
      guardRequest('POST', { host, ...(origin === undefined ? {} : { origin }) }, false, names)
    } catch (error) {
      return (error as { status: number }).status
    }
    return null
  }

  test.each([
    ['vspc.example.com', undefined],
    ['vspc.example.com:13371', undefined],
    ['VSPC.example.com', 'https://vspc.example.com'],
    ['localhost:13371', 'https://vspc.example.com'],
    ['localhost:13371', 'https://vspc.example.com:8443'],
    ['a.corp.example', 'https://a.corp.example'],
    ['10.0.0.7:13371', 'https://10.0.0.7:13371'],
    ['[fe80::1]:13371', 'https://[fe80::1]:13371'],
  ])('Host %s, Origin %s pass', (host, origin) => expect(status(host, origin)).toBeNull())

  test.each([
    ['evil.example', undefined, 421],
    ['vspc.example.com.evil.example', undefined, 421],
    ['a.b.corp.example', undefined, 421],
    ['corp.example', undefined, 421],
    ['vspc.example.com', 'https://evil.example', 403],
    ['localhost:13371', 'https://vspc.example.com:9999', 403],
    ['10.0.0.7:13371', 'https://10.0.0.8:13371', 403],
    ['vspc.example.com', 'null', 403],
  ])('Host %s, Origin %s do not: %i', (host, origin, wanted) => expect(status(host, origin)).toBe(wanted))

  test('on loopback other addresses are not ours', () => {
    const local = new PublicNames()
    expect([local.hasHost('127.0.0.1'), local.hasHost('10.0.0.7')]).toEqual([true, false])
  })

  test.each(['', 'a/b', 'a b', 'https://a', 'a@b', '*.example.com', 'a:99999', 'x'.repeat(300)])(
    '"%s" is no name',
    (text) => {
      expect(() => parsePublicName(text)).toThrow(expect.objectContaining({ code: 'VSPC_CONFIG_INVALID' }))
    },
  )
})
