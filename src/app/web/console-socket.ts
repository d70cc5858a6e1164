/** A console's WebSocket, relative to where the page is. */
import { ApiError, fetchTicket } from './api.ts'
import type { FeedSocket, SocketListener } from './console-feed.ts'
import { portPath } from './places.ts'
import { hasToken } from './session.ts'

const SUBPROTOCOL = 'vspc.v1'
/** As the server would close it, had it come so far. */
const LOST = 1006
const LOG_IN = 4401

/** With a token, a ticket for it is got first. */
export function openSocket(id: string, query: string, listener: SocketListener): FeedSocket {
  let socket: WebSocket | null = null
  let closed = false
  const open = (protocols: string[]) => {
    if (!closed) socket = connect(id, query, protocols, listener)
  }
  if (!hasToken()) open([SUBPROTOCOL])
  else {
    fetchTicket().then(
      (ticket) => open([SUBPROTOCOL, `vspc.ticket.${ticket}`]),
      (error: unknown) => {
        const isLogin = error instanceof ApiError && error.status === 401
        if (!closed) listener.closed(isLogin ? LOG_IN : LOST, error instanceof Error ? error.message : '')
      },
    )
  }
  return {
    send: (data) => socket?.send(data),
    close: () => {
      closed = true
      // Closed while it is being opened, a browser complains in its console; nobody listens to it any more anyway.
      if (socket?.readyState === WebSocket.CONNECTING) socket.addEventListener('open', () => socket?.close())
      else socket?.close()
    },
    get bufferedAmount() {
      return socket?.bufferedAmount ?? 0
    },
  }
}

function connect(id: string, query: string, protocols: string[], listener: SocketListener): WebSocket {
  const url = new URL(portPath(id, `/console?${query}`), document.baseURI)
  url.protocol = url.protocol.replace('http', 'ws')
  url.hash = ''
  const socket = new WebSocket(url, protocols)
  socket.binaryType = 'arraybuffer'
  socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === 'string') listener.text(data)
    else listener.bytes(new Uint8Array(data))
  })
  socket.addEventListener('close', ({ code, reason }) => listener.closed(code, reason))
  return socket
}
