import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { Port } from '../../src/vspc/port.ts'
import { type AppUnderTest, startApp } from './support.ts'

function addPort(app: AppUnderTest, key: string, label: string | null, name: string): Port {
  const port = new Port(app.server, key, label)
  port.name = name
  app.server.table.add(port)
  return port
}

async function page(app: AppUnderTest): Promise<{ html: string; policy: string }> {
  const answer = await fetch(`${app.url}/plain`)
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8'])
  return { html: await answer.text(), policy: answer.headers.get('content-security-policy') ?? '' }
}

const plainText = (text: string) =>
  text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')

/** The attach lines, as a person would copy them. */
const attachLines = (html: string) =>
  [...html.matchAll(/<code>(vspc attach[^<]*)<\/code>/g)].map(([, line = '']) => plainText(line))

test('a VM name cannot put anything into the page', async () => {
  const app = await startApp()
  const name = `<script>alert(1)</script><img src=x onerror='alert("2")'>&amp;`
  addPort(app, 'name:x', null, name)
  const { html } = await page(app)
  expect(html).not.toContain('<script')
  expect(html).not.toContain('<img')
  expect(html).toContain(
    '&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&#39;alert(&quot;2&quot;)&#39;&gt;&amp;amp;',
  )
})

test('the policy allows our own style and nothing else', async () => {
  const { html, policy } = await page(await startApp())
  const hash = (tag: string) =>
    `'sha256-${createHash('sha256')
      .update(new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(html)?.[1] ?? '')
      .digest('base64')}'`
  expect(policy.split('; ').sort()).toEqual([
    "base-uri 'none'",
    "default-src 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    `style-src ${hash('style')}`,
  ])
  expect(html).not.toMatch(/\s(?:src|style|on\w+)=/)
})

test('each port has its attach line, with the server it was asked of', async () => {
  const app = await startApp()
  addPort(app, 'name:web1', null, 'web1')
  addPort(app, 'name:web1', 'com2', 'web1')
  const { html } = await page(app)
  expect(attachLines(html)).toEqual([
    `vspc attach --server ${app.url} web1`,
    `vspc attach --server ${app.url} web1/com2`,
  ])
})

test.each([
  ['a space', 'my vm'],
  ['a command', 'x; touch owned'],
  ['quotes', `it's "quoted" $(id) \`id\``],
  ['an option', '--help'],
])('a name with %s is one argument in a shell', async (_what, name) => {
  const app = await startApp()
  addPort(app, 'name:x', null, name)
  const [line = ''] = attachLines((await page(app)).html)
  const shown = execFileSync('sh', ['-c', `vspc() { printf '%s\\n' "$@"; }\n${line}`], { encoding: 'utf8' })
  expect(shown.trimEnd().split('\n').at(-1)).toBe(name)
})

test.each([
  ['is that of two VMs', ['twin', 'twin'], ['name:a', 'name:b']],
  ['is the id of another port', ['name:b', 'b'], ['name:a', 'b']],
  ['looks like the UUID of another VM', ['564d1f5a-1e5c-0a3b-9c2d-0123456789ab', 'b'], ['name:a', 'b']],
  ['looks like a port of another VM', ['b/com1', 'b'], ['name:a', 'b']],
  ['is not known', ['', 'b'], ['b', 'name:a']],
])('a name that %s is not used to attach', async (_what, [first = '', second = ''], expected) => {
  const app = await startApp()
  const ports = [addPort(app, 'name:a', null, first), addPort(app, 'name:b', null, second)]
  const shown = attachLines((await page(app)).html).map((line) => line.split(' ').at(-1) ?? '')
  expect(shown.sort()).toEqual([...expected].sort())
  const found = shown.map((text) => app.server.table.resolve(text).id)
  expect(found.sort()).toEqual(ports.map(({ id }) => id).sort())
})

test('without any VM it says what to do', async () => {
  expect((await page(await startApp())).html).toContain('vspc demo')
})

test('a very long list is cut, and says so', async () => {
  const app = await startApp()
  for (let i = 0; i < 2_100; i++) addPort(app, `name:vm${i}`, null, `vm${i}`)
  const { html } = await page(app)
  expect(html).toContain('2100 serial ports')
  expect(html.match(/<tr><td>/g)).toHaveLength(500)
  expect(html).toContain('1600 more')
})
