/** The table of relays: for each host the address of the relay there. */
import { VspcError } from '../base/index.ts'
import { readConfigFile } from '../config/index.ts'
import type { RelayTable } from '../vmotion/index.ts'

const ACCEPTED = 'accepted are lines HOST: ADDRESS, such as "esx1.example.com: 10.0.0.1"'

/** @throws VspcError VSPC_CONFIG_READ, VSPC_CONFIG_INVALID; ConfigError. */
export function readRelays(file: string, directory: string): RelayTable {
  const source = readConfigFile(file, directory)
  const { values } = source
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new VspcError('VSPC_CONFIG_INVALID', `${file}: it is no table; ${ACCEPTED}`)
  }
  const table = new Map<string, string>()
  for (const [host, address] of Object.entries(values)) {
    if (typeof address !== 'string' || address === '') {
      const { where } = source.locate([host], 'value')
      throw new VspcError('VSPC_CONFIG_INVALID', `${where}: there is no address; ${ACCEPTED}`)
    }
    table.set(host, address)
  }
  return table
}
