/** The web console: files that the build has made (scripts/bundle-web.mjs), served from memory. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { OPEN } from './access/guard.ts'
import { PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
}

/** Tests run the sources, and take what was built from them. */
const FOLDER = new URL(import.meta.url.endsWith('.ts') ? '../../dist/app/web/' : './web/', import.meta.url)

/** In the page where the nonce of each answer goes. */
const NONCE_MARK = '{{nonce}}'
const VERSION_MARK = '{{version}}'

/** Names hold a hash of the contents: what has such a name never changes. */
const FOREVER = 'public, max-age=31536000, immutable'

interface WebFile {
  readonly type: string
  readonly plain: Buffer
  readonly gzip: Buffer
}

interface WebFiles {
  readonly page: string
  readonly files: ReadonlyMap<string, WebFile>
}

let loaded: WebFiles | null = null

/** Read once for all servers of the process; null where the page was not built. */
function webFiles(): WebFiles | null {
  if (!existsSync(new URL('index.html', FOLDER))) return null
  const files = new Map<string, WebFile>()
  for (const name of readdirSync(FOLDER)) {
    const type = TYPES[extname(name)]
    if (type === undefined) continue
    const plain = readFileSync(new URL(name, FOLDER))
    files.set(name, { type, plain, gzip: gzipSync(plain, { level: 6 }) })
  }
  return { page: readFileSync(new URL('index.html', FOLDER), 'utf8'), files }
}

/**
 * The terminal (xterm.js) writes style elements of its own, for which the nonce is; everything else comes from files.
 * No script but ours, nothing from anywhere else, and nobody may frame us.
 */
function pagePolicy(nonce: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

const FileParams = Type.Object({ file: Type.String() })

/** @returns false, and has done nothing, where the page was not built. */
export function webRoutes(app: FastifyInstance, version: string): boolean {
  loaded ??= webFiles()
  if (loaded === null) return false
  const { page, files } = loaded

  app.route({
    method: ['GET', 'HEAD'],
    url: '/',
    config: { access: OPEN },
    schema: {
      summary: 'The web console',
      description: 'Needs a browser with scripts; /plain is a list that does not.',
      tags: ['web'],
      response: {
        200: { description: 'HTML.', content: { 'text/html': { schema: { type: 'string' } } } },
        ...PROBLEM_ANSWER,
      },
    },
    handler: (_request, reply) => {
      const nonce = randomBytes(16).toString('base64')
      reply.type('text/html; charset=utf-8').header('content-security-policy', pagePolicy(nonce))
      return reply.send(page.replaceAll(NONCE_MARK, nonce).replaceAll(VERSION_MARK, version))
    },
  })

  app.route<{ Params: { file: string } }>({
    method: ['GET', 'HEAD'],
    url: '/web/:file',
    config: { access: OPEN },
    schema: {
      summary: 'Scripts and styles of the web console',
      tags: ['web'],
      params: FileParams,
      response: { 200: { description: 'The file.', content: { '*/*': { schema: {} } } }, ...PROBLEM_ANSWER },
    },
    handler: (request, reply) => {
      const file = files.get(request.params.file)
      if (file === undefined) throw new ProblemError(404, 'VSPC_REQUEST_INVALID', 'the web console has no such file')
      return sendFile(file, request, reply)
    },
  })
  return true
}

function sendFile({ type, plain, gzip }: WebFile, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const packed = acceptsGzip(request.headers['accept-encoding'])
  reply.type(type).headers({ 'cache-control': FOREVER, vary: 'accept-encoding' })
  if (packed) reply.header('content-encoding', 'gzip')
  return reply.send(packed ? gzip : plain)
}

/** RFC 9110 section 12.5.3, as far as one coding goes. */
function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((one) => /^\s*(?:gzip|\*)\s*(?:;\s*q=(?:1(?:\.0*)?|0?\.\d*[1-9]\d*)\s*)?$/i.test(one))
}
