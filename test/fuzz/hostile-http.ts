/** Hostile HTTP requests and WebSocket frames, as bytes. */
import type { Random } from './random.ts'

const METHODS = [
  'GET',
  'GET',
  'GET',
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'CONNECT',
  'BREW',
  'get',
]

const PATHS = [
  ...['/', '/livez', '/readyz', '/metrics', '/openapi.json', '/api/v1/ports', '/api/v1/events', '/console_log/x'],
  ...['/api/v1/ports/vm2', '/api/v1/ports/vm2/log', '/api/v1/ports/vm2/console', '/api/v1/ports/vm2/consoles'],
  ...[
    '/api/v1/ports/nobody',
    '/api/v1/ports/%zz',
    '/api/v1/ports/%00',
    '/api/v1/ports/%2e%2e%2f',
    '/api/v1/ports//log',
  ],
  ...['/api/v1/ports/__proto__', '/api/v1/ports/constructor/log', '/console_log/', '/console_log/%ff', '*', '//', '/.'],
  ...['http://localhost/livez', 'http://other/livez', '/api/v1/ports/vm2/../vm2', '/api/v1/ports?x', 'vm2', ''],
]

const QUERIES = [
  ...[
    '',
    '',
    '',
    '?',
    '?start=0',
    '?start=-5',
    '?start=x',
    '?start=1e9',
    '?start=9007199254740993',
    '?limit=0',
    '?end=-1',
  ],
  ...['?limit=-1', '?start=1&start=2', '?start[]=1', '?mode=write', '?mode=exclusive&force=1', '?mode=x', '?from=0'],
  ...[
    '?from=NaN',
    '?mode=read&from=-10',
    '?force=maybe',
    '?__proto__=1',
    '?mode=__proto__',
    '?%',
    '?%00=%00',
    '?a=b&&&=',
  ],
]

const HEADERS = [
  ...['Origin: http://evil.example', 'Origin: null', 'Origin: http://localhost', 'Accept: */*', 'Accept: text/html'],
  ...[
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Length: 99999999999',
    'Content-Length: 1\r\nContent-Length: 2',
  ],
  ...['Transfer-Encoding: chunked', 'Transfer-Encoding: gzip, chunked', 'Expect: 100-continue', 'Expect: magic'],
  ...['Upgrade: websocket', 'Connection: Upgrade', 'Connection: close', 'Connection: keep-alive', 'Upgrade: h2c'],
  ...['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Version: 12', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='],
  ...['Sec-WebSocket-Key: x', 'Sec-WebSocket-Protocol: vspc.v1', 'Sec-WebSocket-Protocol: other', 'Range: bytes=0-1'],
  ...['Sec-WebSocket-Protocol: ,,,', 'Sec-WebSocket-Extensions: permessage-deflate', 'If-None-Match: *', 'X: \u0001'],
  ...['Content-Type: application/json', 'Content-Type: ;;;', ' folded', ': empty', 'no colon', 'Host: second'],
  ...[`Cookie: ${'c'.repeat(5_000)}`, `X-Long: ${'x'.repeat(20_000)}`, 'Content-Encoding: br', 'X-Bytes: \u00ff\u0080'],
]

const HOSTS = [
  'localhost',
  'localhost',
  'localhost',
  '127.0.0.1:1',
  '[::1]',
  'evil.example',
  'localhost@evil',
  '',
  'a b',
]
const UPGRADE = [
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Protocol: vspc.v1',
]
const BODIES = ['', '', '', '{}', '{"a":', '[]', 'x'.repeat(6_000), '5\r\nhello\r\n0\r\n\r\n', 'zz\r\n', '\u0000\u0000']

export function hostileRequest(random: Random): string {
  const version = random.oneIn(12) ? random.pick(['HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', '']) : 'HTTP/1.1'
  const target = random.pick(PATHS) + random.pick(QUERIES)
  const headers = random.oneIn(8) ? [] : [`Host: ${random.pick(HOSTS)}`]
  if (random.oneIn(6)) headers.push(...UPGRADE.filter(() => !random.oneIn(8)))
  for (let n = random.below(4); n > 0; n--) headers.push(random.pick(HEADERS))
  const text = [`${random.pick(METHODS)} ${target} ${version}`, ...headers, '', random.pick(BODIES)].join('\r\n')
  return random.oneIn(4) ? damaged(random, text) : text
}

function damaged(random: Random, text: string): string {
  const at = random.below(text.length + 1)
  const piece = random.pick([
    '\u0000',
    '\n',
    '\r',
    '\r\n\r\n',
    ' ',
    '\t',
    '\u00ff',
    '%',
    ':',
    '/',
    '?',
    'HTTP/1.1',
    'x'.repeat(9_000),
  ])
  return random.oneIn(3) ? text.slice(0, at) : text.slice(0, at) + piece + text.slice(at + random.below(3))
}

/** A good handshake for a console. */
export function handshake(port: string, query: string): string {
  return [`GET /api/v1/ports/${port}/console?${query} HTTP/1.1`, 'Host: localhost', ...UPGRADE, '', ''].join('\r\n')
}

const CONTROLS = [
  ...[
    '{"type":"mode","mode":"exclusive"}',
    '{"type":"mode","mode":"read"}',
    '{"type":"mode","mode":"write","force":true}',
  ],
  ...['{"type":"break"}', '{"type":"who"}', '{"type":"who","x":1}', '{"type":"mode","mode":7}', '{"type":"mode"}'],
  ...['{"type":"__proto__"}', '{"__proto__":{"type":"who"}}', '{"type":["who"]}', '[]', 'null', '', '{', '"who"'],
  ...[
    `{"type":"${'x'.repeat(5_000)}"}`,
    `${'['.repeat(3_000)}`,
    '{"type":"mode","mode":"write","force":"yes"}',
    '1e999',
  ],
]

/** A client's frame: well made, or with anything in it wrong. RFC 6455 section 5. */
export function hostileFrame(random: Random): number[] {
  const opcode = random.pick([1, 1, 1, 2, 2, 0, 8, 9, 10, random.below(16)])
  const payload =
    opcode === 1 && !random.oneIn(5)
      ? [...Buffer.from(random.pick(CONTROLS))]
      : opcode === 8 && !random.oneIn(3)
        ? [...random.pick([[3, 232], [3, 237], [0, 1], [255, 255], [15], []]), ...random.bytes(random.below(4))]
        : random.bytes(random.size(random.oneIn(30) ? 70_000 : 2_000))
  const first = (random.oneIn(6) ? 0 : 0x80) | (random.oneIn(25) ? 0x70 & random.byte() : 0) | opcode
  return frame(random, first, payload)
}

/** What ends a connection in good order. */
export const CLOSE_FRAME = [0x88, 0x82, 0, 0, 0, 0, 3, 232]

function frame(random: Random, first: number, payload: readonly number[]): number[] {
  const masked = random.oneIn(25) ? 0 : 0x80
  const mask = random.bytes(4)
  const length = random.oneIn(30) ? random.below(1 << 24) : payload.length
  const size =
    length < 126 && !random.oneIn(30)
      ? [masked | length]
      : length < 65_536
        ? [masked | 126, length >> 8, length & 255]
        : [masked | 127, random.oneIn(9) ? 255 : 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 255, length & 255]
  const body = masked === 0 ? payload : payload.map((byte, i) => byte ^ (mask[i % 4] as number))
  return [first, ...size, ...(masked === 0 ? [] : mask), ...body]
}

export interface ServerFrame {
  readonly opcode: number
  readonly payload: Uint8Array
}

/** The server's frames; throws for what is none. `rest`: bytes of one that is not whole. */
export function readFrames(bytes: Uint8Array): { frames: ServerFrame[]; rest: number } {
  const frames: ServerFrame[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const first = bytes[at] as number
    const short = bytes[at + 1] as number
    if ((first & 0xf0) !== 0x80) throw new Error(`a frame begins with ${first}: fragmented, or with reserved bits`)
    if (short >= 128) throw new Error('a frame of the server is masked')
    const head = short < 126 ? 2 : short === 126 ? 4 : 10
    if (at + head > bytes.length) break
    const view = new DataView(bytes.buffer, bytes.byteOffset + at)
    const length = short < 126 ? short : short === 126 ? view.getUint16(2) : Number(view.getBigUint64(2))
    if (at + head + length > bytes.length) break
    frames.push({ opcode: first & 0x0f, payload: bytes.subarray(at + head, at + head + length) })
    at += head + length
  }
  return { frames, rest: bytes.length - at }
}
