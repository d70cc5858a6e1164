/** The page at `/plain`: which ports there are, and how to attach to each. For browsers without scripts, and for curl. */
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Port, Server } from '../vspc/index.ts'
import { EACH, visibleTo, visitorOf } from './access/guard.ts'
import type { Visitor } from './access/visitor.ts'
import { PROBLEM_ANSWER } from './openapi.ts'

/** A page with more rows helps nobody; `vspc ports` and the API have them all. */
const MAX_ROWS = 500
/** Sorting this many takes a few milliseconds, in which no VM is served; more are shown in the order they came. */
const MAX_SORTED = 2_000

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --dim: #767676; --on: #1a7f37; --move: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --dim: #9a9a9a; --on: #3fb950; --move: #d29922 } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.4rem }
div.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
code { font: .9em/1.4 ui-monospace, monospace; user-select: all; overflow-wrap: anywhere }
.id, .offline, footer { color: var(--dim) }
.id { font-size: .85em; overflow-wrap: anywhere }
.online { color: var(--on) }
.migrating { color: var(--move) }
`

/** Seconds after which a browser asks again. */
const REFRESH_S = 10

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

const PAGE_POLICY = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export interface PageOptions {
  readonly server: Server
  readonly version: string
  /** Where `vspc` looks without being told. */
  readonly defaultUrl: string
}

/** @param path `/plain`, and `/` where there is no other page. */
export function pageRoute(app: FastifyInstance, path: string, options: PageOptions): void {
  app.get(
    path,
    {
      config: { access: EACH },
      schema: {
        summary: 'The list of ports as a page without scripts',
        tags: ['ports'],
        response: {
          200: { description: 'HTML.', content: { 'text/html': { schema: { type: 'string' } } } },
          ...PROBLEM_ANSWER,
        },
      },
    },
    (request, reply) =>
      reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', PAGE_POLICY)
        .send(renderPage(options, visiblePorts(options, visitorOf(request)), `${request.protocol}://${request.host}`)),
  )
}

function visiblePorts({ server }: PageOptions, visitor: Visitor): Port[] {
  const all = [...server.table]
  return visitor.seesAll ? all : all.filter(visibleTo(visitor))
}

/** @param url by which the reader reaches this server: through an SSH tunnel it is not what we listen on. */
export function renderPage({ server, version, defaultUrl }: PageOptions, ports: Port[], url: string): string {
  const names = new Map<string, number>()
  for (const port of ports) names.set(port.displayName, (names.get(port.displayName) ?? 0) + 1)
  if (ports.length <= MAX_SORTED) ports.sort((a, b) => compare(a.displayName, b.displayName) || compare(a.id, b.id))
  const where = url === defaultUrl ? '' : ` --server ${shellQuote(url)}`
  const rows = ports.slice(0, MAX_ROWS).map((port) => row(port, names, server, where))
  const more = ports.length - rows.length
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vspc</title>
<meta http-equiv="refresh" content="${REFRESH_S}">
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${ports.length === 1 ? '1 serial port' : `${ports.length} serial ports`}</h1>
${rows.length === 0 ? EMPTY : table(rows)}
${more > 0 ? `<p>${more} more: <code>vspc ports${html(where)}</code> lists them all.</p>` : ''}
</main>
<footer><p>vspc ${html(version)} &middot; <a href="api/v1/ports">ports as JSON</a> &middot; <a href="openapi.json">API</a>
&middot; <a href="metrics">metrics</a></p></footer>
</body>
</html>
`
}

const EMPTY = '<p>No VM has connected yet. <code>vspc demo</code> shows some without any ESXi host.</p>'

function table(rows: string[]): string {
  return `<div class="scroll"><table>
<thead><tr><th>VM</th><th>State</th><th>Host</th><th>Consoles</th><th>vMotions</th><th>Output</th><th>Attach</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table></div>`
}

function row(port: Port, names: ReadonlyMap<string, number>, server: Server, where: string): string {
  const info = port.info()
  const name = attachName(port, names, server)
  // After "--", so that a VM named "-x" is no option.
  const argument = name.startsWith('-') ? `-- ${shellQuote(name)}` : shellQuote(name)
  return (
    `<tr><td>${html(port.displayName)}<div class="id">${html(info.id)}</div></td>` +
    `<td class="${info.state}">${info.state}</td><td>${html(info.host ?? '')}</td>` +
    `<td class="n">${info.consoles}</td><td class="n">${info.vmotions}</td><td class="n">${info.bytesFromVm}</td>` +
    `<td><code>vspc attach${html(where)} ${html(argument)}</code></td></tr>`
  )
}

/**
 * What to type for this very port: its name, unless that names several, or could be read as something else. VMs are
 * named by whoever may edit them, maybe after the UUID of another one.
 */
function attachName(port: Port, names: ReadonlyMap<string, number>, server: Server): string {
  const name = port.displayName
  const plain = port.name !== '' && names.get(name) === 1 && server.table.get(name) === undefined
  const readable = !/[/:]/.test(port.name) && !/^[0-9a-fA-F{}\s-]{32,}$/.test(port.name) && !/^\.{1,2}$/.test(name)
  return plain && readable ? name : port.id
}

/** One word for a POSIX shell, whatever is in it: people copy the line without reading it. */
function shellQuote(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function html(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string)
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
