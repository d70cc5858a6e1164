import { request } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { Port } from '../../src/vspc/port.ts'
import { sharedApp } from './support.ts'

const app = sharedApp(async () => {})

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

/** Without fetch, which unpacks by itself. */
function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request(`${app().url}${path}`, { method, headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) }),
      )
    })
      .on('error', reject)
      .end()
  })
}

async function linked(): Promise<string[]> {
  const { body } = await ask('/')
  return [...body.toString().matchAll(/(?:src|href)="(web\/[^"]+)"/g)].map(([, path = '']) => path)
}

test('the page allows itself and nobody else, with a nonce of its own each time', async () => {
  const [one, two] = [await ask('/'), await ask('/')]
  expect([one.status, one.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
  expect(one.headers['cache-control']).toBe('no-store')
  const policy = String(one.headers['content-security-policy'])
  const nonce = /'nonce-([^']+)'/.exec(policy)?.[1] ?? ''
  expect(policy.split('; ')).toEqual([
    ...["default-src 'none'", "script-src 'self'", `style-src 'self' 'nonce-${nonce}'`, "img-src 'self'"],
    ...["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ])
  expect(Buffer.from(nonce, 'base64')).toHaveLength(16)
  expect(one.body.toString()).toContain(`nonce="${nonce}"`)
  expect(two.body.toString()).not.toContain(nonce)
  expect(one.body.toString()).not.toContain('{{')
})

test('the page names no absolute path: it works wherever a proxy puts it', async () => {
  const { body } = await ask('/')
  const places = [...body.toString().matchAll(/(?:src|href)="([^"]+)"/g)].map(([, place = '']) => place)
  expect(places.length).toBeGreaterThan(5)
  expect(places.filter((place) => /^(?:\/|[a-z]+:)/.test(place))).toEqual([])
})

test('every file it names is there, of its type, packed where that is understood, and may be kept for good', async () => {
  const files = await linked()
  expect(files.map((file) => file.replace(/-[\w]+(?=\.)/, '')).sort()).toEqual([
    ...['web/app.js', 'web/icon.svg', 'web/licenses.txt', 'web/style.css'],
  ])
  const types: Record<string, string> = {
    js: 'text/javascript; charset=utf-8',
    css: 'text/css; charset=utf-8',
    svg: 'image/svg+xml',
    txt: 'text/plain; charset=utf-8',
  }
  for (const file of files) {
    const plain = await ask(`/${file}`)
    const packed = await ask(`/${file}`, { 'accept-encoding': 'br, gzip;q=0.8' })
    const head = await ask(`/${file}`, { 'accept-encoding': 'gzip' }, 'HEAD')
    expect([file, plain.status, packed.status, head.status]).toEqual([file, 200, 200, 200])
    expect(plain.headers).toMatchObject({
      'content-type': types[file.split('.').at(-1) ?? ''],
      'cache-control': 'public, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
      vary: 'accept-encoding',
    })
    expect([plain.headers['content-encoding'], packed.headers['content-encoding']]).toEqual([undefined, 'gzip'])
    expect(gunzipSync(packed.body)).toEqual(plain.body)
    expect([head.body.length, head.headers['content-length']]).toEqual([0, String(packed.body.length)])
  }
})

test('gzip is not sent to who refuses it', async () => {
  const [file = ''] = await linked()
  for (const refused of ['gzip;q=0', 'identity', 'gzip;q=0.000']) {
    expect((await ask(`/${file}`, { 'accept-encoding': refused })).headers['content-encoding']).toBeUndefined()
  }
})

test.each(['/web/', '/web/index.html', '/web/..%2f..%2fpackage.json', '/web/%2e%2e/app.js', '/web/app.js'])(
  'there is nothing at %s',
  async (path) => {
    const { status, headers } = await ask(path)
    expect([status, headers['content-type']]).toEqual([404, 'application/problem+json'])
  },
)

test.each([
  ['web 1/com2', 'web-1-com2.log'],
  ['../../etc/passwd', 'etc-passwd.log'],
  ['a"; filename="b.exe\r\nX-Evil: 1', 'a-filename-b.exe-X-Evil-1.log'],
  ['日本', 'console.log'],
])('the log of a VM named %j is saved under a harmless name', async (name, file) => {
  const port = new Port(app().server, `name:${file}`, null)
  port.name = name
  app().server.table.add(port)
  const { status, headers } = await ask(`/api/v1/ports/${encodeURIComponent(port.id)}/log`)
  expect([status, headers['content-disposition']]).toEqual([200, `attachment; filename="${file}"`])
})
