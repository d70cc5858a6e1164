/**
 * Lets xterm.js set styles under a policy that forbids inline ones. It does so in two ways:
 *
 * - style elements whose text it writes (colours, cell sizes): they get the nonce that the server gave this page;
 * - style attributes of single cells (24-bit colours): set through `style.cssText`, which policies do not restrict,
 *   since only a script that runs already can do it.
 *
 * Markup that somebody managed to smuggle into the page has neither, and stays without style.
 */
export function allowTerminalStyles(): void {
  const nonce = document.querySelector<HTMLLinkElement>('link[rel="stylesheet"]')?.nonce ?? ''
  const createElement = document.createElement.bind(document)
  document.createElement = (name: string, options?: ElementCreationOptions) => {
    const element = createElement(name, options)
    if (element instanceof HTMLStyleElement) element.nonce = nonce
    return element
  }
  const { setAttribute } = HTMLElement.prototype
  HTMLElement.prototype.setAttribute = function (this: HTMLElement, name: string, value: string) {
    if (name === 'style') this.style.cssText = value
    else setAttribute.call(this, name, value)
  }
}
