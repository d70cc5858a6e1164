export type { Announcement, ByteStream, LinkInfo, PeerInfo } from './byte-stream.ts'
export { type CertificateFacts, certificateFacts, readCertificate } from './certificate.ts'
export type {
  Announced,
  DialOptions,
  ListenHandlers,
  Listening,
  ListenOptions,
  ListenProblem,
  TrustedSources,
} from './contracts.ts'
export { DescriptorWatch, openFileLimit } from './descriptors.ts'
export {
  type Endpoint,
  type EndpointRole,
  type EndpointUse,
  formatEndpoint,
  formatHostPort,
  type Layers,
  layersOf,
  NO_LAYERS,
  SCHEMES,
  type Scheme,
  type TcpEndpoint,
  type TlsEndpoint,
  type TlsParameters,
  type UnixEndpoint,
  type VmParameters,
  type VmProtocol,
} from './endpoint.ts'
export { parseEndpoint } from './endpoint-parser.ts'
export { type EndpointPattern, matchesEndpoint, parseEndpointPattern } from './endpoint-pattern.ts'
export { LinkTable } from './link-acceptor.ts'
export { probeLink } from './link-dialler.ts'
export { type OnChunk, readChunks } from './read-chunks.ts'
export { dial, listen } from './registry.ts'
export { type TlsUpgradeOptions, upgradeClient, upgradeServer } from './tls.ts'
export { loadServerTls, type ServerTlsContext } from './tls-files.ts'
export { DEFAULT_TRUSTED_PROXIES, parseTrustedSources } from './trusted.ts'
