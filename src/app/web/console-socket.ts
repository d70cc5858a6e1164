/** A console's WebSocket, relative to where the page is. */
import type { FeedSocket, SocketListener } from './console-feed.ts'
import { portPath } from './places.ts'

const SUBPROTOCOL = 'vspc.v1'

export function openSocket(id: string, query: string, listener: SocketListener): FeedSocket {
  const url = new URL(portPath(id, `/console?${query}`), document.baseURI)
  url.protocol = url.protocol.replace('http', 'ws')
  url.hash = ''
  const socket = new WebSocket(url, [SUBPROTOCOL])
  socket.binaryType = 'arraybuffer'
  socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === 'string') listener.text(data)
    else listener.bytes(new Uint8Array(data))
  })
  socket.addEventListener('close', ({ code, reason }) => listener.closed(code, reason))
  return {
    send: (data) => socket.send(data),
    // Closed while it is being opened, a browser complains in its console; nobody listens to it any more anyway.
    close: () =>
      socket.readyState === WebSocket.CONNECTING
        ? socket.addEventListener('open', () => socket.close())
        : socket.close(),
    get bufferedAmount() {
      return socket.bufferedAmount
    },
  }
}
