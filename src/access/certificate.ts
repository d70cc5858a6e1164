/**
 * Who a certificate is for. Pure.
 *
 * Read from the two texts that Node makes of it, which quote what could be mistaken for their own punctuation. What is quoted
 * is refused: no name of a user needs it, and what is read wrongly here lets in somebody else.
 */
import { isPrincipal, MAX_GROUPS, type Subject } from './subject.ts'

/** Which part of a certificate names its user. `cn`: of the subject; the others: of the alternative names. */
export const CERTIFICATE_USERS = ['cn', 'email', 'dns', 'uri'] as const
export type CertificateUser = (typeof CERTIFICATE_USERS)[number]

export interface CertificateRules {
  readonly user: CertificateUser
  /** Organizational units of the subject are groups. */
  readonly groupsFromOu: boolean
}

/** Of a certificate whose chain has been verified, and of no other. Texts as those of node:crypto's X509Certificate. */
export interface CertificateFacts {
  readonly subject: string
  readonly subjectAltName: string | null
}

/** @returns what is wrong, in words, where there is not exactly one user in it. */
export function certificateSubject(facts: CertificateFacts, rules: CertificateRules): Subject | string {
  const users = rules.user === 'cn' ? attributes(facts.subject, 'CN') : altNames(facts.subjectAltName ?? '', rules.user)
  if (users === null) return `its ${rules.user} holds characters that no name of a user has`
  const [user, second] = users
  if (user === undefined) return `it has no ${rules.user} that would name a user`
  if (second !== undefined) return `it has more than one ${rules.user}, and only one can be the user`
  if (!isPrincipal(user)) return `its ${rules.user} is no name of a user`
  const groups = rules.groupsFromOu ? attributes(facts.subject, 'OU') : []
  if (groups === null || groups.length > MAX_GROUPS || !groups.every(isPrincipal)) return 'its OU is no name of a group'
  return { user, groups: [...new Set(groups)], via: 'certificate', grants: [], credential: null }
}

/** Values of one attribute; null when one of them is not plain text. Each stands on a line, `CN=alice`. */
function attributes(subject: string, name: string): string[] | null {
  const values: string[] = []
  for (const line of subject.split('\n')) {
    // Several in one go, "OU=ops + CN=alice": which of them is meant, nobody can say.
    if (/(?:^|\+ ?)(?:CN|OU)=/.test(line) && line.includes('+')) return null
    if (!line.startsWith(`${name}=`)) continue
    const value = line.slice(name.length + 1)
    if (/[\\"]/.test(value)) return null
    values.push(value)
  }
  return values
}

const ALT_NAME_KINDS = { email: 'email', dns: 'DNS', uri: 'URI' } as const

/** `DNS:a.example, email:alice@example.com`; what would be ambiguous is in double quotes. */
function altNames(text: string, kind: keyof typeof ALT_NAME_KINDS): string[] | null {
  if (text === '') return []
  if (/["\\]/.test(text)) return null
  const names = text.split(', ').map((entry) => /^([A-Za-z][A-Za-z0-9 ]*):(.*)$/s.exec(entry))
  if (names.includes(null)) return null
  return names.filter((name) => name?.[1] === ALT_NAME_KINDS[kind]).map((name) => name?.[2] ?? '')
}
