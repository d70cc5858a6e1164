/** Elements without templates: what comes from a VM is always text, never markup. */

type Child = Node | string | null | false

type Properties<Tag extends keyof HTMLElementTagNameMap> = Partial<
  Omit<HTMLElementTagNameMap[Tag], 'children' | 'style' | 'dataset' | 'attributes'>
> & {
  /** Attributes, for what has no property. */
  readonly attributes?: Readonly<Record<string, string>>
}

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Properties<Tag> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const { attributes = {}, ...rest } = properties
  const element = Object.assign(document.createElement(tag), rest)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children.filter((child) => child !== null && child !== false))
  return element
}

export function button(label: string, className: string, pressed: () => void, title = ''): HTMLButtonElement {
  const element = make('button', { type: 'button', className, title }, label)
  element.addEventListener('click', pressed)
  return element
}

/** Changes text only when it is new: a selection in it survives, and the page is not laid out again for nothing. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** @throws Error when the page is not ours. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`the page has no #${id}`)
  return element
}
