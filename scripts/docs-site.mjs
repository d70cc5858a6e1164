/**
 * Makes the site out of docs/ and the pages beside it: plain HTML without scripts, and one style sheet, in a folder
 * (default: site/). `npm run docs` calls it. docs/index.md is the first page, and its lists are the navigation. A link or
 * anchor that leads nowhere, a page that is in no list, and HTML in a page are errors: then nothing is written.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import markdownIt from 'markdown-it'

const HOME = 'docs/index.md'
const POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"

/**
 * @param {string} root folder of the repository
 * @returns {{ files: Map<string, string>, problems: string[] }} by path in the site; nothing is written
 */
export function makeSite(root) {
  const read = (path) => readFileSync(join(root, path), 'utf8')
  const problems = []
  const pages = new Map(sources(root).map((path) => [path, parsePage(path, read(path))]))
  const copies = new Map()
  const home = pages.get(HOME)
  if (!home) return { files: new Map(), problems: [`${HOME} is missing: it is the first page`] }

  const links = { root, pages, copies, problems }
  for (const page of pages.values()) {
    if (page.titles !== 1)
      problems.push(`${page.path}: has ${page.titles} headings of the first level, one is its title`)
    for (const line of page.html) problems.push(`${page.path}:${line}: HTML in a page; write Markdown`)
    for (const link of page.links) resolveLink(page, link, links)
  }
  const navigation = readNavigation(home)
  const listed = new Set(navigation.flatMap(({ links }) => links.map(({ path }) => path)))
  for (const path of pages.keys()) {
    if (path !== HOME && !listed.has(path))
      problems.push(`${path}: is in no list of ${HOME}, and so not in the navigation`)
  }

  const files = new Map([['style.css', read('scripts/docs-site.css')]])
  for (const [path, out] of copies) files.set(out, read(path))
  for (const page of pages.values()) files.set(page.out, wholePage(page, navigation, home.title))
  return { files, problems }
}

/** Every page there is: the folder docs/, and what stands at the top. */
function sources(root) {
  const markdown = (folder, deep) =>
    readdirSync(join(root, folder), { recursive: deep, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
  return [...markdown('docs', true), ...markdown('.', false), 'bench/README.md'].sort()
}

const outOf = (path) =>
  (path.startsWith('docs/') ? path.slice(5) : `project/${path.toLowerCase()}`).replace(/md$/, 'html')

function renderer() {
  const md = markdownIt('commonmark', { html: false }).enable('table')
  // Wide ones are scrolled alone, by keyboard too, so that a phone's page is not.
  md.renderer.rules.table_open = () => '<div class="wide" tabindex="0"><table>\n'
  md.renderer.rules.table_close = () => '</table></div>\n'
  const cell = (tokens, at, options, _env, self) => {
    const token = tokens[at]
    // An attribute that the policy forbids; a class says the same.
    const aligned = /^text-align:(\w+)$/.exec(token.attrGet('style') ?? '')
    if (aligned) token.attrs = [['class', aligned[1]]]
    if (token.tag === 'th') token.attrSet('scope', 'col')
    return self.renderToken(tokens, at, options)
  }
  md.renderer.rules.th_open = cell
  md.renderer.rules.td_open = cell
  const fence = md.renderer.rules.fence
  md.renderer.rules.fence = (...given) => fence(...given).replace('<pre>', '<pre tabindex="0">')
  const block = md.renderer.rules.code_block
  md.renderer.rules.code_block = (...given) => block(...given).replace('<pre>', '<pre tabindex="0">')
  return md
}

const md = renderer()

function parsePage(path, text) {
  // A generated page says so in a comment on its first line.
  const source = text.replace(/^<!--.*?-->\n/s, (comment) => '\n'.repeat(comment.split('\n').length - 1))
  const tokens = md.parse(source, {})
  const page = {
    path,
    out: outOf(path),
    tokens,
    title: path,
    titles: 0,
    ids: new Set(),
    headings: [],
    links: [],
    html: [],
  }
  for (const [at, token] of tokens.entries()) {
    const line = (token.map?.[0] ?? 0) + 1
    if (token.type === 'heading_open') readHeading(page, token, tokens[at + 1])
    if (token.type !== 'inline') continue
    for (const [i, child] of token.children.entries()) {
      if (child.type === 'link_open') page.links.push({ token: child, text: token.children[i + 1], line })
      if (
        child.type === 'text' &&
        /<!--|<\/?(?:a|b|br|details|div|img|kbd|p|span|sub|sup|summary|table)\b/i.test(child.content)
      ) {
        page.html.push(line)
      }
    }
  }
  return page
}

function readHeading(page, token, inline) {
  const text = plain(inline)
  let id = slug(text)
  for (let n = 1; page.ids.has(id); n++) id = `${slug(text)}-${n}`
  page.ids.add(id)
  token.attrSet('id', id)
  if (token.tag === 'h1') {
    page.titles++
    page.title = text
  } else page.headings.push({ level: Number(token.tag.slice(1)), id, text })
}

const plain = (inline) => inline.children.map(({ content }) => content).join('')

/** As the places do that show Markdown: `## Ports, and "names"` is #ports-and-names. */
export const slug = (text) =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M} _-]/gu, '')
    .replaceAll(' ', '-')

function resolveLink(page, { token, text, line }, { root, pages, copies, problems }) {
  const href = token.attrGet('href')
  const fault = (why) => problems.push(`${page.path}:${line}: ${href}: ${why}`)
  if (/^[a-z][a-z0-9+.-]*:/i.test(href)) {
    if (!/^(?:https|mailto):/.test(href)) fault('only https: links lead out of the site')
    token.attrSet('rel', 'noreferrer')
    return
  }
  const [target = '', anchor] = href.split('#', 2)
  const path = target === '' ? page.path : posix.join(posix.dirname(page.path), decodeURI(target))
  token.target = path
  const to = pages.get(path)
  if (to) {
    if (anchor !== undefined && !to.ids.has(decodeURIComponent(anchor))) fault(`${path} has no heading of that name`)
    // "see esxi.md" names the file; here it is a page.
    if (text?.type === 'text' && /^\S+\.md$/.test(text.content)) text.content = to.title
    const file = posix.relative(posix.dirname(page.out), to.out)
    token.attrSet(
      'href',
      (to === page && anchor !== undefined ? '' : file) + (anchor === undefined ? '' : `#${anchor}`),
    )
  } else if (path.startsWith('..') || !existsSync(join(root, path))) {
    fault('there is no such file')
  } else if (/^(?:LICENSE|(?:packaging|bench|scripts)\/.*\.\w+|packaging\/.*\/Containerfile)$/.test(path)) {
    // With .txt a browser shows it, whatever it is.
    const out = `files/${path}.txt`
    copies.set(path, out)
    token.attrSet('href', posix.relative(posix.dirname(page.out), out))
  } else fault('is neither a page nor a file of packaging/: name it without a link')
}

/** The lists of the first page, by the headings they stand under. */
function readNavigation(home) {
  const sections = []
  for (const [at, token] of home.tokens.entries()) {
    if (token.type === 'heading_open' && token.tag === 'h2')
      sections.push({ text: plain(home.tokens[at + 1]), links: [] })
    if (token.type !== 'inline' || home.tokens[at - 2]?.type !== 'list_item_open') continue
    const [first, text] = token.children
    if (first?.type === 'link_open' && first.target)
      sections.at(-1)?.links.push({ path: first.target, text: text.content })
  }
  return sections.filter(({ links }) => links.length > 0)
}

const escaped = (text) => md.utils.escapeHtml(text)

function wholePage(page, navigation, siteTitle) {
  const here = (out) => posix.relative(posix.dirname(page.out), out)
  const item = ({ path, text }) =>
    `<li><a href="${here(outOf(path))}"${path === page.path ? ' aria-current="page"' : ''}>${escaped(text)}</a></li>`
  const menu = navigation.map(
    ({ text, links }) => `<h2>${escaped(text)}</h2>\n<ul>\n${links.map(item).join('\n')}\n</ul>`,
  )
  const top = page.headings.filter(({ level }) => level === 2)
  const contents = top.map(({ id, text }) => `<li><a href="#${id}">${escaped(text)}</a></li>`).join('\n')
  const title = page.path === HOME ? siteTitle : `${page.title} - ${siteTitle}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title>
<link rel="stylesheet" href="${here('style.css')}">
</head>
<body>
<a class="skip" href="#content">To the text</a>
<header><a href="${here(outOf(HOME))}">${escaped(siteTitle)}</a> <a class="menu" href="#pages">All pages</a></header>
<div class="columns">
<main id="content">
${top.length > 3 && page.path !== HOME ? `<details class="contents"><summary>On this page</summary>\n<ul>\n${contents}\n</ul></details>\n` : ''}${md.renderer.render(page.tokens, md.options, {})}</main>
<nav id="pages" aria-label="All pages">
${menu.join('\n')}
</nav>
</div>
</body>
</html>
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../', import.meta.url))
  const folder = process.argv[2] ?? join(root, 'site')
  const { files, problems } = makeSite(root)
  for (const problem of problems) process.stderr.write(`${problem}\n`)
  if (problems.length > 0) process.exit(1)
  // What it made before, and nothing else: a folder of something else is left alone.
  if (existsSync(join(folder, 'style.css'))) rmSync(folder, { recursive: true })
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  process.stdout.write(`${files.size} files in ${folder}; begin with index.html\n`)
}
