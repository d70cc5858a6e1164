import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type CertificateFacts, type CertificateUser, certificateSubject } from '../../src/access/index.ts'
import { temporaryFolder } from './support.ts'

/** Of a real certificate, as Node shows it. */
function made(subject: string, altNames?: string): CertificateFacts {
  const key = join(temporaryFolder(), 'key')
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key]
  const config = join(temporaryFolder(), 'openssl.cnf')
  writeFileSync(config, `[req]\ndistinguished_name=d\n[d]\n[x]\nsubjectAltName=${altNames}\n`)
  const names = ['-config', config, ...(altNames === undefined ? [] : ['-extensions', 'x'])]
  const options = ['req', '-x509', '-days', '2', '-utf8', '-multivalue-rdn', ...curve, '-subj', subject, ...names]
  const certificate = new X509Certificate(execFileSync('openssl', options, { stdio: ['ignore', 'pipe', 'ignore'] }))
  return { subject: certificate.subject ?? '', subjectAltName: certificate.subjectAltName ?? null }
}

const who = (facts: CertificateFacts, user: CertificateUser = 'cn') => {
  const subject = certificateSubject(facts, { user, groupsFromOu: true })
  return typeof subject === 'string' ? subject : [subject.user, ...subject.groups].join(' ')
}

describe('real certificates', () => {
  test('the CN is the user, the OUs are groups', () => {
    expect(who(made('/O=Example/OU=ops/OU=dev/CN=alice'))).toBe('alice ops dev')
    expect(who(made('/CN=alice.smith@example.com'))).toBe('alice.smith@example.com')
  })

  test('the alternative names, of the kind that is asked for only', () => {
    const facts = made(
      '/CN=somebody',
      'email:alice@example.com,DNS:alice.example,URI:spiffe://example/alice,IP:10.0.0.1',
    )
    expect(who(facts, 'email')).toBe('alice@example.com')
    expect(who(facts, 'dns')).toBe('alice.example')
    expect(who(facts, 'uri')).toBe('spiffe://example/alice')
  })

  test('none of them, or more than one, is nobody', () => {
    expect(who(made('/O=Example'))).toContain('it has no cn')
    expect(who(made('/CN=alice/CN=root'))).toContain('more than one cn')
    expect(who(made('/CN=alice'), 'email')).toContain('it has no email')
    expect(who(made('/CN=a', 'DNS:a.example,DNS:b.example'), 'dns')).toContain('more than one dns')
  })

  test('a CN inside another field, or beside one, is not taken for the user', () => {
    expect(who(made('/O=x\\/CN=root/CN=alice'))).toBe('alice')
    expect(who(made('/O=x+CN=root/CN=alice'))).toContain('characters')
    expect(who(made('/CN=alice, CN=root'))).not.toBe('root')
    expect(who(made('/O=Example\nCN=root/CN=alice'))).not.toContain('root')
  })

  test('an alternative name that pretends to be two is refused', () => {
    const facts = made('/CN=x', 'DNS:a.example,email:copy')
    expect(who(facts, 'dns')).toBe('a.example')
    // One DNS name, which holds a comma.
    const forged = made('/CN=x', '@names\n[names]\nDNS.1="evil.example, email:root@example.com"')
    expect(forged.subjectAltName).toContain('email:root@example.com')
    expect(who(forged, 'email')).toContain('characters')
    expect(who(forged, 'dns')).toContain('characters')
  })
})

test.each([
  ['', 'cn', 'it has no cn'],
  ['CN=', 'cn', 'is no name of a user'],
  ['CN=a\\,b', 'cn', 'characters'],
  ['CN="a"', 'cn', 'characters'],
  ['CN=a,b', 'cn', 'is no name of a user'],
  ['CN=alice + UID=root', 'cn', 'characters'],
  ['OU=ops + CN=alice', 'cn', 'characters'],
  ['OU=a\\,b\nCN=alice', 'cn', 'OU is no name'],
  [`CN=${'a'.repeat(129)}`, 'cn', 'is no name of a user'],
] as const)('the subject %j is nobody', (subject, user, expected) => {
  expect(who({ subject, subjectAltName: null }, user)).toContain(expected)
})

test.each(['DNS:"a.example, email:root@x"', 'DNS:a\\', 'nonsense', 'email:a, b', 'email:'])(
  'the alternative names %j are nobody',
  (subjectAltName) => {
    expect(who({ subject: 'CN=x', subjectAltName }, 'email')).not.toBe('root@x')
    expect(typeof certificateSubject({ subject: 'CN=x', subjectAltName }, { user: 'email', groupsFromOu: false })).toBe(
      'string',
    )
  },
)
