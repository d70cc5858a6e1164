/** The traps of vim25's XML, one test each; everything is also read byte by byte. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import {
  childOf,
  childrenOf,
  type Element,
  flagOf,
  leaf,
  node,
  numberOf,
  refElement,
  refOf,
  textOf,
  withChild,
} from '../../src/vsphere/element.ts'
import { VSPHERE_LIMITS } from '../../src/vsphere/limits.ts'
import { encodeCall, encodeElement, readAnswer } from '../../src/vsphere/soap.ts'
import { XmlReader } from '../../src/vsphere/xml-reader.ts'

const NAMESPACES = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'

function read(xml: string, limits: Partial<typeof VSPHERE_LIMITS> = {}): Element {
  const whole = new XmlReader({ ...VSPHERE_LIMITS, ...limits })
  whole.write(xml)
  const element = whole.finish()
  const pieces = new XmlReader({ ...VSPHERE_LIMITS, ...limits })
  for (const unit of xml) pieces.write(unit)
  expect(pieces.finish()).toEqual(element)
  return element
}

function refusal(xml: string, limits: Partial<typeof VSPHERE_LIMITS> = {}): string {
  try {
    const reader = new XmlReader({ ...VSPHERE_LIMITS, ...limits })
    reader.write(xml)
    reader.finish()
  } catch (error) {
    expect(error).toBeInstanceOf(VspcError)
    expect((error as VspcError).code).toBe('VSPC_VSPHERE_ANSWER')
    return (error as VspcError).message
  }
  throw new Error('was taken')
}

describe('reading', () => {
  test("a schema type and a reference's type are not mixed up, whatever the prefix", () => {
    const xml = `<r ${NAMESPACES} xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><a xsi:type="ns1:ManagedObjectReference" type="HostSystem">host-1</a><b i:type="xsd:string">s</b></r>`
    const root = read(xml)
    expect(childOf(root, 'a')).toMatchObject({ type: 'ManagedObjectReference', refType: 'HostSystem', text: 'host-1' })
    expect(childOf(root, 'b')).toMatchObject({ type: 'string', refType: null })
    expect(refOf(root, 'a')).toEqual({ type: 'HostSystem', value: 'host-1' })
    expect(refOf(root, 'b')).toBeNull()
  })

  test('numbers stay text: a build number or name of digits keeps its zeros', () => {
    const root = read('<r><name>0042</name><big>9007199254740993</big><n>-7</n><no>7x</no><t>true</t><one>1</one></r>')
    expect(textOf(root, 'name')).toBe('0042')
    expect(textOf(root, 'big')).toBe('9007199254740993')
    expect(numberOf(root, 'big')).toBeNull()
    expect(numberOf(root, 'n')).toBe(-7)
    expect(numberOf(root, 'no')).toBeNull()
    expect([flagOf(root, 't'), flagOf(root, 'one'), flagOf(root, 'n')]).toEqual([true, true, null])
  })

  test('white space in a value stays; between elements it is nothing', () => {
    const root = read('<r>\n  <v>  two  words \n</v>\n  <w/>\n</r>')
    expect(textOf(root, 'v')).toBe('  two  words \n')
    expect(root.text).toBe('')
    expect(root.children).toHaveLength(2)
  })

  test('CR arrives as a character by number, and is not left as it is written', () => {
    expect(read('<v>a&#xD;&#10;b&#13;</v>').text).toBe('a\r\nb\r')
    expect(read('<v>&lt;&amp;&gt;&quot;&apos;&#x1F600;</v>').text).toBe('<&>"\'\u{1f600}')
  })

  test('more than a thousand escapes in one value are no attack', () => {
    expect(read(`<v>${'&lt;'.repeat(5_000)}</v>`).text).toBe('<'.repeat(5_000))
  })

  test('one element is a list of one, none is an empty list', () => {
    const one = read('<r><x>1</x></r>')
    expect(childrenOf(one, 'x').map(({ text }) => text)).toEqual(['1'])
    expect(childrenOf(one, 'y')).toEqual([])
    expect(childrenOf(null, 'y')).toEqual([])
  })

  test('names that mean something in JavaScript are names like others', () => {
    const root = read('<r><__proto__>1</__proto__><constructor toString="x">2</constructor><length>3</length></r>')
    expect(root.children.map(({ text }) => text)).toEqual(['1', '2', '3'])
    expect(({} as Record<string, unknown>)['1']).toBeUndefined()
  })

  test('text in CDATA counts', () => {
    expect(read('<v>a<![CDATA[<b>&amp;]]>c</v>').text).toBe('a<b>&amp;c')
  })
})

describe('what is refused', () => {
  test('truncated XML, at every place', () => {
    const xml = `<e:Envelope ${NAMESPACES}><e:Body><R><a type="T">v&amp;</a><b/></R></e:Body></e:Envelope>`
    for (let at = 0; at < xml.length; at++) refusal(xml.slice(0, at))
    read(xml)
  })

  test.each([
    ['crossed elements', '<a><b></a></b>'],
    ['a second document', '<a/><b/>'],
    ['no XML', 'Service Unavailable'],
    ['HTML', '<html><body><br></body></html>'],
    ['control characters by number', '<a>&#x1;</a>'],
    ['entities of its own', '<a>&xxe;</a>'],
    ['a DTD', '<!DOCTYPE a [<!ENTITY x "y">]><a>x</a>'],
    ['an external DTD', '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'],
    ['the same attribute twice', '<a x="1" x="2"/>'],
  ])('%s', (_what, xml) => {
    expect(refusal(xml).length).toBeLessThan(250)
  })

  test('a billion laughs stay unlaughed', () => {
    const laughs = Array.from({ length: 10 }, (_, i) => `<!ENTITY l${i + 1} "${`&l${i};`.repeat(10)}">`).join('')
    expect(refusal(`<!DOCTYPE l [<!ENTITY l0 "ha">${laughs}]><l>&l10;</l>`)).toContain('DTD')
  })

  test('depth, number of elements and of attributes have bounds', () => {
    expect(refusal('<a>'.repeat(100_000))).toContain('deeper than 64')
    expect(refusal(`<r>${'<a/>'.repeat(100)}</r>`, { maxElements: 50 as never })).toContain('more than 50 elements')
    const many = Array.from({ length: 40 }, (_, i) => `a${i}="1"`).join(' ')
    expect(refusal(`<a ${many}/>`)).toContain('too many attributes')
  })
})

describe('writing', () => {
  test('what is written is read the same, any text that XML can carry', () => {
    const text = fc.string({ unit: 'binary' }).filter((value) => !/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(value))
    fc.assert(
      fc.property(text, text, (value, ref) => {
        const element = node('r', [leaf('v', value, 'string'), refElement('o', { type: 'T', value: ref })], 'Some')
        const back = read(`<x ${NAMESPACES}>${encodeElement(element)}</x>`).children[0]
        expect(back).toEqual(element)
      }),
      { numRuns: 100 },
    )
  })

  test('CR is escaped on output, or it would arrive as LF', () => {
    expect(encodeElement(leaf('v', 'a\r\n"<&>'))).toBe('<v>a&#xD;\n&quot;&lt;&amp;&gt;</v>')
  })

  test('what XML cannot carry is an error, which does not show the value', () => {
    for (const bad of ['secret\u0001', 'secret\ud800', '\udc00secret', 'secret\ufffe']) {
      expect(() => encodeElement(leaf('password', bad))).toThrow(
        expect.objectContaining({ code: 'VSPC_VSPHERE_TEXT', message: expect.not.stringContaining('secret') }),
      )
    }
  })

  test("types of XML Schema get its prefix, vim25's none", () => {
    expect(encodeElement(leaf('v', 1, 'int'))).toBe('<v xsi:type="xsd:int">1</v>')
    expect(encodeElement(leaf('v', 'x', 'OptionValue'))).toBe('<v xsi:type="OptionValue">x</v>')
  })

  test('a device that is echoed comes back whole, with its parts in their order', () => {
    const xml = `<device xsi:type="VirtualSerialPort"><key>9000</key><deviceInfo xsi:type="Description"><label>Serial port 1</label><summary>s</summary></deviceInfo><backing xsi:type="VirtualSerialPortFileBackingInfo"><fileName>[ds] f</fileName><datastore type="Datastore">ds-1</datastore></backing><controllerKey>400</controllerKey><yieldOnPoll>true</yieldOnPoll></device>`
    const device = read(`<x ${NAMESPACES}>${xml}</x>`).children[0]!
    expect(encodeElement(device)).toBe(xml)
    const changed = withChild(device, leaf('controllerKey', 401))
    expect(encodeElement(changed)).toBe(xml.replace('400', '401'))
  })
})

describe('envelopes', () => {
  const answer = (body: string, method = 'M') =>
    readAnswer(read(`<s:Envelope xmlns:s="u" ${NAMESPACES}><s:Header/><s:Body>${body}</s:Body></s:Envelope>`), method)

  test('a call names object, method and arguments', () => {
    const envelope = encodeCall({ type: 'Folder', value: 'group-d1' }, 'Rename_Task', [leaf('newName', 'x')])
    expect(envelope).toContain(
      '<Rename_Task xmlns="urn:vim25"><_this type="Folder">group-d1</_this><newName>x</newName></Rename_Task>',
    )
    expect(read(envelope).name).toBe('Envelope')
  })

  test('a result, an empty one too', () => {
    expect(answer('<MResponse xmlns="urn:vim25"/>')).toMatchObject({ kind: 'result', result: { name: 'MResponse' } })
  })

  test('a fault is named by its type, else by its element, else by its code', () => {
    const fault = (detail: string) => {
      const found = answer(
        `<s:Fault><faultcode>ServerFaultCode</faultcode><faultstring>words</faultstring>${detail}</s:Fault>`,
      )
      return found.kind === 'fault' ? found.fault.name : null
    }
    expect(fault('<detail><X xsi:type="NotAuthenticated"/></detail>')).toBe('NotAuthenticated')
    expect(fault('<detail><InvalidLoginFault/></detail>')).toBe('InvalidLogin')
    expect(fault('')).toBe('ServerFaultCode')
  })

  test('the answer to something else is none', () => {
    expect(() => answer('<OtherResponse/>')).toThrow(/no answer of a vSphere API to M: <OtherResponse>/)
    expect(() => readAnswer(read('<html/>'), 'M')).toThrow(/does the URL end in \/sdk/)
  })
})
