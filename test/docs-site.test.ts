import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import axe from 'axe-core'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { describeWithPeers, peerPath } from './support/peers.ts'

// A browser on two cores that others use, too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const root = join(import.meta.dirname, '..')
const site = mkdtempSync(join(tmpdir(), 'vspc-site-'))

function build(from: string, to: string): { status: number | null; said: string } {
  const { status, stderr } = spawnSync(process.execPath, [join(from, 'scripts/docs-site.mjs'), to], {
    encoding: 'utf8',
  })
  return { status, said: stderr }
}

beforeAll(() => expect(build(root, site)).toEqual({ status: 0, said: '' }))
afterAll(() => rmSync(site, { recursive: true, force: true }))

const files = () => readdirSync(site, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.html'))
const html = (file: string) => readFileSync(join(site, file), 'utf8')
const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, found = '']) => found)

/** Headings of a Markdown page as anchors, by the rule of the places that show Markdown. */
function anchors(path: string): Set<string> {
  const text = readFileSync(path, 'utf8').replace(/^```[\s\S]*?^```/gm, '')
  const found = new Set<string>()
  for (const heading of all(text, /^#{1,6} (.+)$/gm)) {
    const name = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
    let anchor = name
    for (let n = 1; found.has(anchor); n++) anchor = `${name}-${n}`
    found.add(anchor)
  }
  return found
}

test('every link with an anchor, in the pages as they stand in the repository, names a heading that is there', () => {
  const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(root, 'docs', name))
  for (const name of ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'bench/README.md']) pages.push(join(root, name))
  const broken: string[] = []
  let looked = 0
  for (const page of pages) {
    for (const target of all(readFileSync(page, 'utf8'), /\]\(([^)\s]+#[^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      looked++
      const [path = '', anchor = ''] = target.split('#')
      const to = path === '' ? page : resolve(dirname(page), path)
      if (!existsSync(to) || !anchors(to).has(anchor)) broken.push(`${relative(root, page)}: ${target}`)
    }
  }
  expect(looked).toBeGreaterThan(20)
  expect(broken).toEqual([])
})

test('the built site has no dead link, no script, and asks nobody else for anything', () => {
  const faults: string[] = []
  for (const file of files()) {
    const text = html(file)
    if (
      /<script|<img|<iframe|<object|<form|\son\w+=|\sstyle=|javascript:/i.test(text.replace(/<pre[\s\S]*?<\/pre>/g, ''))
    ) {
      faults.push(`${file}: more than text`)
    }
    for (const address of all(text, /<link[^>]* href="([^"]*)"/g)) {
      if (!existsSync(resolve(site, dirname(file), address))) faults.push(`${file}: ${address}`)
    }
    for (const address of all(text, /<a[^>]* href="([^"]*)"/g)) {
      if (/^(?:https|mailto):/.test(address)) continue
      const [path = '', anchor] = address.split('#')
      const to = path === '' ? file : relative(site, resolve(site, dirname(file), path))
      if (!existsSync(join(site, to))) faults.push(`${file}: ${address}`)
      else if (anchor !== undefined && !html(to).includes(` id="${decodeURIComponent(anchor)}"`))
        faults.push(`${file}: ${address}`)
    }
  }
  expect(files().length).toBeGreaterThan(30)
  expect(faults).toEqual([])
})

test('every page is in the navigation of every page, and knows which one it is', () => {
  const expected = files().length
  for (const file of files()) {
    const navigation = /<nav[\s\S]*<\/nav>/.exec(html(file))?.[0] ?? ''
    const named = all(navigation, /href="([^"]*)"/g).map((address) =>
      relative(site, resolve(site, dirname(file), address)),
    )
    // The first page is the map itself; the header leads to it.
    expect(new Set([...named, 'index.html']).size).toBe(expected)
    expect(all(navigation, /href="([^"]*)" aria-current="page"/g)).toHaveLength(file === 'index.html' ? 0 : 1)
    expect(html(file)).toMatch(/<title>[^<]*vspc<\/title>/)
  }
})

test('what it made before is replaced, and a link that leads nowhere, a page in no list or HTML leaves it alone', () => {
  const copy = mkdtempSync(join(tmpdir(), 'vspc-site-from-'))
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
  for (const name of ['docs', 'packaging', 'scripts', 'bench/README.md', 'LICENSE', 'package.json']) {
    cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  for (const name of readdirSync(root).filter((name) => name.endsWith('.md')))
    cpSync(join(root, name), join(copy, name))
  cpSync(join(root, 'node_modules/markdown-it'), join(copy, 'node_modules/markdown-it'), { recursive: true })
  for (const name of ['argparse', 'entities', 'linkify-it', 'mdurl', 'punycode.js', 'uc.micro']) {
    const part = join(root, 'node_modules', name)
    if (existsSync(part)) cpSync(part, join(copy, 'node_modules', name), { recursive: true })
  }
  const out = join(copy, 'site')
  expect(build(copy, out)).toEqual({ status: 0, said: '' })
  writeFileSync(join(out, 'gone.html'), '')
  writeFileSync(
    join(copy, 'docs/stray.md'),
    '# Stray\n\n[a](nowhere.md) [b](esxi.md#nothing) <b>loud</b> [c](../package.json)\n\n# Again\n',
  )
  const { status, said } = build(copy, out)
  expect(status).toBe(1)
  expect(said.trim().split('\n').sort()).toEqual([
    'docs/stray.md: has 2 headings of the first level, one is its title',
    'docs/stray.md: is in no list of docs/index.md, and so not in the navigation',
    'docs/stray.md:3: ../package.json: is neither a page nor a file of packaging/: name it without a link',
    'docs/stray.md:3: HTML in a page; write Markdown',
    'docs/stray.md:3: esxi.md#nothing: docs/esxi.md has no heading of that name',
    'docs/stray.md:3: nowhere.md: there is no such file',
  ])
  expect(existsSync(join(out, 'gone.html'))).toBe(true)
  rmSync(join(copy, 'docs/stray.md'))
  expect(build(copy, out).status).toBe(0)
  expect(existsSync(join(out, 'gone.html'))).toBe(false)
})

test('metrics that the pages name exist', () => {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
    .join('\n')
  const known = new Set(all(sources, /'((?:vspc|process|nodejs)_[a-z_]+)'/g))
  const unknown: string[] = []
  for (const page of readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))) {
    for (const name of all(readFileSync(join(root, 'docs', page), 'utf8'), /\b((?:vspc|process)_[a-z_]{4,})\b/g)) {
      if (!known.has(name.replace(/_(?:bucket|count|sum)$/, ''))) unknown.push(`${page}: ${name}`)
    }
  }
  expect(unknown).toEqual([])
})

describeWithPeers(['chromium'], 'the site in Chromium', () => {
  let browser: Browser | null = null
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: peerPath('chromium'), args: ['--no-sandbox'] })
  })
  afterAll(() => browser?.close())

  for (const [name, viewport, colorScheme] of [
    ['desktop, light', { width: 1_280, height: 800 }, 'light'],
    ['desktop, dark', { width: 1_280, height: 800 }, 'dark'],
    ['phone, dark', { width: 360, height: 740 }, 'dark'],
  ] as const) {
    test(`${name}: nothing serious for axe, styled, and no page is wider than the window`, async () => {
      // axe itself does what the pages' policy forbids, so it has another context.
      const open = async (bypassCSP: boolean) => {
        const context = await (browser as Browser).newContext({ viewport, colorScheme, bypassCSP })
        onTestFinished(() => context.close())
        return context.newPage()
      }
      const [page, looked] = [await open(false), await open(true)]
      const faults: string[] = []
      page.on('console', (message) => faults.push(message.text()))
      page.on('request', (request) => {
        if (!request.url().startsWith(pathToFileURL(site).href)) faults.push(request.url())
      })
      // The longest tables, code, lists, and a page of another folder.
      for (const file of ['index.html', 'esxi.html', 'configuration.html', 'project/bench/readme.html']) {
        const url = pathToFileURL(join(site, file)).href
        await page.goto(url)
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(viewport.width)
        const back = await page.evaluate('getComputedStyle(document.body).backgroundColor')
        expect(back).toBe(colorScheme === 'dark' ? 'rgb(20, 24, 29)' : 'rgb(255, 255, 255)')
        await looked.goto(url)
        await looked.evaluate(axe.source)
        const { violations } = (await looked.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as {
          violations: { id: string; impact: string; nodes: { html: string }[] }[]
        }
        for (const { id, impact, nodes } of violations) {
          if (impact === 'serious' || impact === 'critical') faults.push(`${file}: ${id}: ${nodes[0]?.html}`)
        }
      }
      expect(faults).toEqual([])
    })
  }
})
