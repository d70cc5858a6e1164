/** Why a resumable stream is over, in words. */
import { VspcError } from '../base/index.ts'
import type { LinkClose } from '../link/index.ts'

/** What the owner of a stream hears of its end; null: that everything has arrived. */
export function closeError(close: LinkClose, resumeMs: number): Error | null {
  switch (close.why) {
    case 'done':
    case 'aborted':
      return null
    case 'expired':
      return new VspcError('VSPC_LINK_LOST', `resumable stream: without connection for ${resumeMs} ms; closed`)
    case 'unknown':
      return new VspcError(
        'VSPC_LINK_REFUSED',
        'resumable stream: the other end does not know it: it was restarted, or has given the stream up',
      )
    case 'refused':
      return new VspcError('VSPC_LINK_REFUSED', `resumable stream: the other end refuses it (${close.refusal ?? '?'})`)
    case 'peerGone':
      return gone(close.over)
    case 'fault':
      return close.error
  }
}

function gone(over: string): Error {
  if (over === 'expired') return new VspcError('VSPC_LINK_LOST', 'resumable stream: the other end has given it up')
  if (over === 'fault') {
    return new VspcError('VSPC_LINK_PROTOCOL', 'resumable stream: the other end says that we broke the protocol')
  }
  // What a socket says whose peer was destroyed.
  return Object.assign(new Error('the other end of the resumable stream was closed at once'), { code: 'ECONNRESET' })
}
