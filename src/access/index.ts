export { ACCESS_SCHEMA, type AccessRules, type AccessSettings, type Roles, readAccessSection } from './access-config.ts'
export { AUDIT_DEFAULTS, type AuditEntry, AuditLog, type AuditOptions } from './audit.ts'
export {
  CERTIFICATE_USERS,
  type CertificateFacts,
  type CertificateRules,
  type CertificateUser,
  certificateSubject,
} from './certificate.ts'
export { digestOf, newSecret } from './digest.ts'
export { FAILURE_LIMITS, FailureLimit, type FailureLimits } from './failures.ts'
export { type Glob, parseGlob } from './glob.ts'
export {
  DEFAULT_PROXY_RULES,
  type Identity,
  type IdentitySources,
  identify,
  type ProxyRules,
  type RequestFacts,
  TICKET_SUBPROTOCOL,
  withoutTickets,
} from './identity.ts'
export {
  ACTIONS,
  type Action,
  allowed,
  BUILT_IN_ROLES,
  CAPABILITIES,
  type Capability,
  capabilitiesOn,
  type Decision,
  decide,
  explain,
  type Grant,
  grantsOf,
  OPEN_POLICY,
  type Policy,
  type Rule,
  type Who,
} from './policy.ts'
export { secretFault, TICKET_PREFIX, TOKEN_PREFIX } from './secret.ts'
export { formatSelector, type PortFacts, parseSelector, SELECTOR_ACCEPTS, type Selector, selects } from './selector.ts'
export { ANONYMOUS, isPrincipal, type Subject, type Via } from './subject.ts'
export { type IssuedTicket, type Redeemed, TICKET_LIMITS, type TicketLimits, Tickets } from './tickets.ts'
export { changeTokens, loadTokens } from './token-file.ts'
export { TokenStore, type TokenStoreOptions } from './token-store.ts'
export { TOKEN_NAME, TOKEN_NAME_ACCEPTS, type TokenMatch, type TokenRecord, TokenTable, timeOf } from './tokens.ts'
