/** SOAP 1.1 envelopes of vim25: calls to text, answers to what they mean. Pure. */
import { cleanText, RemoteProtocolError, VspcError } from '../base/index.ts'
import { childOf, type Element, type ManagedRef, refElement } from './element.ts'
import type { Fault } from './faults.ts'

/**
 * The version of the API that we speak: everything used here is older than vSphere 6.0, and newer servers go on
 * serving it. [doc]
 */
export const SOAP_ACTION = 'urn:vim25/6.0'

const HEAD =
  '<?xml version="1.0" encoding="UTF-8"?>' +
  '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"' +
  ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">' +
  '<soapenv:Body>'
const TAIL = '</soapenv:Body></soapenv:Envelope>'

/** Types of XML Schema itself, which stand in another namespace than those of vim25. */
const SCHEMA_TYPES = new Set(
  'anyType anyURI base64Binary boolean byte date dateTime double float int integer long short string time'.split(' '),
)

/**
 * The envelope of a call.
 * @throws VspcError VSPC_VSPHERE_TEXT for text that XML cannot carry (U+0001, say): such values travel as base64.
 */
export function encodeCall(self: ManagedRef, method: string, args: readonly Element[]): string {
  const body = [refElement('_this', self), ...args].map(encodeElement).join('')
  return `${HEAD}<${method} xmlns="urn:vim25">${body}</${method}>${TAIL}`
}

export function encodeElement(element: Element): string {
  const { name, type, refType, text, children } = element
  const schemaType = type === null ? '' : ` xsi:type="${SCHEMA_TYPES.has(type) ? 'xsd:' : ''}${escapeText(type, name)}"`
  const ofRef = refType === null ? '' : ` type="${escapeText(refType, name)}"`
  const content = children.length > 0 ? children.map(encodeElement).join('') : escapeText(text, name)
  return `<${name}${schemaType}${ofRef}>${content}</${name}>`
}

/** Not allowed in XML 1.0, not even as a character by number (section 2.2). */
const NOT_XML =
  /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/
const ESCAPED = /[&<>"\r]/g
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#xD;' }

/** @param name of the element, for the error: the text may be a secret. */
function escapeText(text: string, name: string): string {
  if (NOT_XML.test(text)) {
    throw new VspcError(
      'VSPC_VSPHERE_TEXT',
      `a value for '${name}' has a character that XML cannot carry; encode binary values (base64)`,
    )
  }
  // A bare CR would arrive as LF: readers of XML normalise ends of lines.
  return text.replace(ESCAPED, (character) => ESCAPES[character] ?? character)
}

export type Answer =
  | { readonly kind: 'result'; readonly result: Element }
  | { readonly kind: 'fault'; readonly fault: Fault }

/**
 * What an envelope says.
 * @param method that was called: an answer to another one is none.
 * @throws RemoteProtocolError VSPC_VSPHERE_ANSWER.
 */
export function readAnswer(envelope: Element, method: string): Answer {
  const body = envelope.name === 'Envelope' ? childOf(envelope, 'Body') : null
  const content = body?.children[0]
  if (content?.name === 'Fault') return { kind: 'fault', fault: readFault(content) }
  if (content?.name === `${method}Response`) return { kind: 'result', result: content }
  const shown = cleanText(content?.name ?? envelope.name, 40)
  throw new RemoteProtocolError(
    'VSPC_VSPHERE_ANSWER',
    `this is no answer of a vSphere API to ${method}: <${shown}>; does the URL end in /sdk?`,
  )
}

function readFault(element: Element): Fault {
  const detail = childOf(element, 'detail')?.children[0] ?? null
  // Named by its type; some servers name only the element, RuntimeFaultFault or NotAuthenticatedFault.
  const name = detail?.type ?? detail?.name.replace(/Fault$/, '') ?? childOf(element, 'faultcode')?.text ?? 'unknown'
  return { name, message: childOf(element, 'faultstring')?.text ?? '', detail }
}
