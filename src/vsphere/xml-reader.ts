/**
 * XML to elements, chunk by chunk as it arrives, so that a large answer holds up nothing else. Strict: what is cut
 * short, crossed or followed by more is an error. No DTD, no entities but XML's five and characters by number; depth,
 * elements and attributes are bounded (bytes are bounded by who reads them).
 */
import { SaxesParser } from 'saxes'
import { cleanText, errorMessage, RemoteProtocolError } from '../base/index.ts'
import type { Element } from './element.ts'
import type { VsphereLimits } from './limits.ts'

type XmlLimits = Pick<VsphereLimits, 'maxElements' | 'maxDepth' | 'maxAttributes'>

interface OpenElement {
  name: string
  type: string | null
  refType: string | null
  text: string
  children: Element[]
}

export class XmlReader {
  readonly #parser = new SaxesParser({ position: false })
  readonly #limits: XmlLimits
  readonly #open: OpenElement[] = []
  #root: Element | null = null
  #elements = 0
  #attributes = 0

  constructor(limits: XmlLimits) {
    this.#limits = limits
    const parser = this.#parser
    parser.on('error', (error) => {
      throw error
    })
    parser.on('doctype', () => {
      throw new Error('it has a DTD')
    })
    parser.on('opentagstart', ({ name }) => this.#begin(localName(name)))
    parser.on('attribute', ({ name, value }) => this.#attribute(name, value))
    parser.on('text', (text) => this.#addText(text))
    parser.on('cdata', (text) => this.#addText(text))
    parser.on('closetag', () => this.#end())
  }

  /** @throws RemoteProtocolError VSPC_VSPHERE_ANSWER; then the reader is of no more use. */
  write(text: string): void {
    this.#guarded(() => this.#parser.write(text))
  }

  /** The root element. @throws RemoteProtocolError VSPC_VSPHERE_ANSWER, when the document has not ended, too. */
  finish(): Element {
    if (this.#elements === 0) throw unreadable('it is empty')
    this.#guarded(() => this.#parser.close())
    if (this.#root === null) throw unreadable('it is empty')
    return this.#root
  }

  #guarded(step: () => unknown): void {
    try {
      step()
    } catch (error) {
      // The parser quotes names from the document.
      throw unreadable(cleanText(errorMessage(error), 120))
    }
  }

  #begin(name: string): void {
    if (++this.#elements > this.#limits.maxElements) throw new Error(`more than ${this.#limits.maxElements} elements`)
    if (this.#open.length >= this.#limits.maxDepth) throw new Error(`nested deeper than ${this.#limits.maxDepth}`)
    this.#attributes = 0
    this.#open.push({ name, type: null, refType: null, text: '', children: [] })
  }

  /**
   * The attribute `type` with a prefix, whichever, is the schema type; without one it belongs to a reference. A reader
   * that drops prefixes mixes them up.
   */
  #attribute(name: string, value: string): void {
    if (++this.#attributes > this.#limits.maxAttributes) throw new Error('an element with too many attributes')
    const element = this.#open.at(-1)
    if (element === undefined) return
    if (name === 'type') element.refType = value
    else if (name.endsWith(':type')) element.type = localName(value)
  }

  /** Between children there is only white space. */
  #addText(text: string): void {
    const element = this.#open.at(-1)
    if (element !== undefined && element.children.length === 0) element.text += text
  }

  #end(): void {
    const element = this.#open.pop()
    if (element === undefined) return
    if (element.children.length > 0) element.text = ''
    const parent = this.#open.at(-1)
    if (parent === undefined) this.#root = element
    else parent.children.push(element)
  }
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1)
}

function unreadable(why: string): RemoteProtocolError {
  return new RemoteProtocolError('VSPC_VSPHERE_ANSWER', `the answer of the vSphere API cannot be read: ${why}`)
}
