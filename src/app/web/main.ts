/** Wires the page: which view is shown, and what is around it. */
import { ConsoleView } from './console-view.ts'
import { askToken, showHelp } from './dialogs.ts'
import { byId, setText } from './dom.ts'
import { ListView } from './list-view.ts'
import { MovesView } from './moves-view.ts'
import { parsePlace } from './places.ts'
import { PortStore } from './port-store.ts'
import { SearchView } from './search-view.ts'
import { forget, hasToken, logIn, startSession, watchRefusals, whoAmI } from './session.ts'
import { allowTerminalStyles } from './terminal-styles.ts'
import { isDark, startTheme, toggleTheme, watchTheme } from './theme.ts'

const store = new PortStore()
const main = byId('main')
let view: ConsoleView | MovesView | SearchView | null = null

allowTerminalStyles()
startTheme()
const list = new ListView(store)
byId('side').append(list.element)
list.render()

/** @param renamed the port of the console that is open has another id now; the rest is where it was. */
function showPlace(renamed: boolean): void {
  const place = parsePlace(location.hash)
  document.body.dataset['view'] = place.view
  mark('to-ports', place.view === 'ports' || place.view === 'port')
  mark('to-moves', place.view === 'moves')
  mark('to-search', place.view === 'search')
  list.show(place.view === 'ports' ? place.query : null, place.view === 'port' ? place.id : null)
  // Going back leads to the list as it was.
  byId('to-ports').setAttribute('href', list.place)
  if (place.view === 'port') {
    if (!(view instanceof ConsoleView && view.id === place.id)) {
      view?.dispose()
      view = new ConsoleView(place.id, store)
      view.focus()
    }
    if (!renamed) view.showPast(place.past)
    return
  }
  view?.dispose()
  view = null
  document.title = { ports: 'vspc', moves: 'Moves - vspc', search: 'Search - vspc' }[place.view]
  if (place.view === 'moves') {
    view = new MovesView(store)
    main.replaceChildren(view.element)
  } else if (place.view === 'search') {
    view = new SearchView()
    main.replaceChildren(view.element)
    view.show(place.query)
  }
}

function mark(id: string, here: boolean): void {
  if (here) byId(id).setAttribute('aria-current', 'page')
  else byId(id).removeAttribute('aria-current')
}

function showServer(): void {
  const element = byId('server')
  const loadedWith = document.querySelector<HTMLMetaElement>('meta[name="vspc-version"]')?.content ?? ''
  const newer = store.serverVersion !== null && store.serverVersion !== loadedWith
  element.classList.toggle('away', store.loaded && !store.connected)
  setText(
    element,
    store.connected || !store.loaded
      ? newer
        ? `the server is now ${store.serverVersion}: reload this page`
        : ''
      : store.problem,
  )
}

/** Asks until a token is right, or nobody wants to. After it everything begins anew. */
async function askLogin(problem: string): Promise<void> {
  for (let why = problem; ; ) {
    const text = await askToken(why)
    if (text === null) break
    why = await logIn(text)
    if (why === '') {
      location.reload()
      return
    }
  }
  showWho()
}

function showWho(): void {
  const me = whoAmI()
  const known = me?.accessControl && me.who !== null
  setText(byId('who'), known ? (me.who ?? '') : '')
  byId('who').title = known ? `known by ${me.via}` : ''
  const login = byId('login')
  // Who comes by a certificate or a proxy logs in and out there.
  login.hidden = !hasToken() && !(me?.accessControl && me.via === 'anonymous')
  setText(login, hasToken() ? 'Log out' : 'Log in')
  login.title = known ? `logged in as ${me.who ?? ''}` : ''
  // Links send no header.
  for (const link of document.querySelectorAll<HTMLElement>('.by-link')) link.hidden = hasToken()
}

function logInOrOut(): void {
  if (!hasToken()) {
    void askLogin('')
    return
  }
  forget()
  location.reload()
}

async function begin(): Promise<void> {
  const problem = await startSession()
  showWho()
  const me = whoAmI()
  const stranger = me?.accessControl && me.via === 'anonymous' && me.capabilities.length === 0
  // A stranger may be let in to some ports all the same: then the question is put aside.
  if (stranger || problem !== '') await askLogin(problem)
  else watchRefusals((why) => void askLogin(why))
  store.start()
  showPlace(false)
}

function nameTheme(): void {
  setText(byId('theme'), isDark() ? 'Light' : 'Dark')
}

/** Keys of the page, where nobody types text. */
function pageKey(event: KeyboardEvent): void {
  const { target, key, ctrlKey, altKey, metaKey } = event
  if (ctrlKey || altKey || metaKey || !(target instanceof HTMLElement)) return
  if (target.closest('input, textarea, select, dialog, .xterm') !== null) return
  if (key === '/') list.focusSearch()
  else if (key === '?') showHelp()
  else return
  event.preventDefault()
}

byId('login').addEventListener('click', logInOrOut)
byId('theme').addEventListener('click', toggleTheme)
byId('help').addEventListener('click', showHelp)
watchTheme(nameTheme)
nameTheme()
store.watch(showServer)
document.addEventListener('keydown', pageKey)
window.addEventListener('hashchange', () => showPlace(false))
window.addEventListener('vspc-place', () => showPlace(true))
void begin()
