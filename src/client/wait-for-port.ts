import { type Clock, type ErrorCode, VspcError } from '../base/index.ts'
import type { PortInfo } from '../vspc/index.ts'
import { portSegment, type ServerClient } from './requests.ts'
import { TIMING } from './timing.ts'

/** The port is not there yet, or the server is away for a moment: worth another look. */
const WORTH_WAITING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'VSPC_PORT_NOT_FOUND',
  'VSPC_SERVER_STARTING',
  'VSPC_SERVER_STOPPING',
])

/**
 * Waits until `port` exists and its VM is connected. A server that cannot be reached at first is an error at once: its
 * address is probably wrong; one that goes away later is waited for.
 *
 * @param timeoutMs may be infinite.
 * @param note told once why we wait.
 * @throws VspcError VSPC_WAIT_TIMEOUT, or what makes waiting pointless (ambiguous, not allowed, unreachable).
 */
export async function waitForPort(
  client: Pick<ServerClient, 'getJson'>,
  port: string,
  timeoutMs: number,
  clock: Clock,
  note: (text: string) => void,
): Promise<PortInfo> {
  const deadline = clock.now() + timeoutMs
  let reached = false
  for (;;) {
    let missing: string
    try {
      const info = (await client.getJson(`/api/v1/ports/${portSegment(port)}`)) as PortInfo
      if (info.state !== 'offline') return info
      missing = `the VM of "${port}" is offline`
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      const again = WORTH_WAITING.has(error.code) || (reached && error.code === 'VSPC_SERVER_UNREACHABLE')
      if (!again) throw error
      missing = error.code === 'VSPC_PORT_NOT_FOUND' ? `there is no port "${port}" yet` : error.message
    }
    if (!reached) note(`${missing}: waiting for it`)
    reached = true
    const left = deadline - clock.now()
    if (left <= 0) throw new VspcError('VSPC_WAIT_TIMEOUT', `${missing}; gave up after ${timeoutMs / 1000} s`)
    await new Promise<void>((resolve) => clock.after(Math.min(TIMING.waitPollMs, left), resolve))
  }
}
