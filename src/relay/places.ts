import { type Endpoint, formatEndpoint, NO_LAYERS } from '../transport/index.ts'

/** What two listeners may not share. */
export function placeOf(endpoint: Endpoint): string {
  const bare: Endpoint =
    endpoint.scheme === 'tls'
      ? { scheme: 'tcp', host: endpoint.host, tcpPort: endpoint.tcpPort, tls: null, vm: null, layers: NO_LAYERS }
      : endpoint.scheme === 'tcp' || endpoint.scheme === 'unix'
        ? { ...endpoint, tls: null, vm: null, layers: NO_LAYERS }
        : endpoint.scheme === 'fifo'
          ? { ...endpoint, vm: null }
          : { ...endpoint, vm: null, layers: NO_LAYERS }
  return formatEndpoint(bare)
}

/** Port 0 is another one each time. */
export function isAnyPort(endpoint: Endpoint): boolean {
  return ('tcpPort' in endpoint && endpoint.tcpPort === 0) || ('vsockPort' in endpoint && endpoint.vsockPort === 0)
}
