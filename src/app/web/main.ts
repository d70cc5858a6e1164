/** Wires the page: which view is shown, and what is around it. */
import { ConsoleView } from './console-view.ts'
import { showHelp } from './dialogs.ts'
import { byId, setText } from './dom.ts'
import { ListView } from './list-view.ts'
import { MovesView } from './moves-view.ts'
import { parsePlace } from './places.ts'
import { PortStore } from './port-store.ts'
import { allowTerminalStyles } from './terminal-styles.ts'
import { isDark, startTheme, toggleTheme, watchTheme } from './theme.ts'

const store = new PortStore()
const main = byId('main')
let view: ConsoleView | MovesView | null = null

allowTerminalStyles()
startTheme()
const list = new ListView(store)
byId('side').append(list.element)

/** @param renamed the port of the console that is open has another id now; the rest is where it was. */
function showPlace(renamed: boolean): void {
  const place = parsePlace(location.hash)
  document.body.dataset['view'] = place.view
  mark('to-ports', place.view !== 'moves')
  mark('to-moves', place.view === 'moves')
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
  document.title = place.view === 'moves' ? 'Moves - vspc' : 'vspc'
  if (place.view === 'moves') {
    view = new MovesView(store)
    main.replaceChildren(view.element)
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

byId('theme').addEventListener('click', toggleTheme)
byId('help').addEventListener('click', showHelp)
watchTheme(nameTheme)
nameTheme()
store.watch(showServer)
window.addEventListener('hashchange', () => showPlace(false))
window.addEventListener('vspc-place', () => showPlace(true))
document.addEventListener('keydown', pageKey)
store.start()
showPlace(false)
