/** What has no connection: faults, serial ports, hosts, UUIDs, URLs, updates. */
import { describe, expect, test } from 'vitest'
import { CODES } from '../../src/base/index.ts'
import { childOf, type Element, leaf, node, refElement, textOf } from '../../src/vsphere/element.ts'
import { faultError } from '../../src/vsphere/faults.ts'
import { hostInfo, readCustomValues } from '../../src/vsphere/inventory.ts'
import { VSPHERE_LIMITS } from '../../src/vsphere/limits.ts'
import { readExtraConfig } from '../../src/vsphere/reconfigure.ts'
import { addSerialPort, editSerialPort, readSerialPorts, removeSerialPort } from '../../src/vsphere/serial-ports.ts'
import { encodeElement } from '../../src/vsphere/soap.ts'
import { propertySpec, readRetrieved, readUpdates } from '../../src/vsphere/specs.ts'
import { formatVsphereUrl, parseVsphereUrl } from '../../src/vsphere/url.ts'
import { parseUuid } from '../../src/vsphere/uuid.ts'
import { XmlReader } from '../../src/vsphere/xml-reader.ts'

function xml(text: string): Element {
  const reader = new XmlReader(VSPHERE_LIMITS)
  reader.write(`<x xmlns:xsi="u" xmlns:xsd="v">${text}</x>`)
  return reader.finish().children[0]!
}

describe('faults', () => {
  test.each([
    ['NotAuthenticated', 'VSPC_VSPHERE_SESSION', true],
    ['InvalidLogin', 'VSPC_VSPHERE_LOGIN', false],
    ['NoPermission', 'VSPC_VSPHERE_PERMISSION', false],
    ['ManagedObjectNotFound', 'VSPC_VSPHERE_NOT_FOUND', true],
    ['TaskInProgress', 'VSPC_VSPHERE_BUSY', true],
    ['ConcurrentAccess', 'VSPC_VSPHERE_BUSY', true],
    ['InvalidState', 'VSPC_VSPHERE_STATE', true],
    ['InvalidPowerState', 'VSPC_VSPHERE_STATE', true],
    ['InvalidDeviceBacking', 'VSPC_VSPHERE_FAULT', false],
    // Object.prototype has these.
    ['constructor', 'VSPC_VSPHERE_FAULT', false],
  ])('%s is %s', (name, code, retryable) => {
    const error = faultError({ name, message: 'words', detail: null }, 'cannot do it')
    expect([error.code, error.retryable, error.fault]).toEqual([code, retryable, name])
    expect(error.message).toContain('cannot do it: ')
    expect(error.message).toContain(`${name}: words`)
    expect(Object.keys(CODES)).toContain(code)
  })

  test('a missing privilege is named, with its object', () => {
    const detail = xml(
      '<f xsi:type="NoPermission"><object type="VirtualMachine">vm-7</object><privilegeId>VirtualMachine.Config.EditDevice</privilegeId></f>',
    )
    const { message } = faultError({ name: 'NoPermission', message: '', detail }, 'cannot change vm-7')
    expect(message).toContain('lacks the privilege VirtualMachine.Config.EditDevice on vm-7')
  })

  test("a server's words cannot steer a terminal or fill a log", () => {
    const { message } = faultError({ name: 'Bad\u001b[2J', message: `\u0007${'x'.repeat(100_000)}`, detail: null }, 'd')
    expect(message).not.toMatch(/[\0-\x1f]/)
    expect(message.length).toBeLessThan(500)
  })
})

const DEVICES = `<val xsi:type="ArrayOfVirtualDevice">
<VirtualDevice xsi:type="VirtualSerialPort"><key>9001</key><deviceInfo xsi:type="Description"><label>Serial port 2</label><summary>Remote</summary></deviceInfo><backing xsi:type="VirtualSerialPortURIBackingInfo"><serviceURI>vspc</serviceURI><direction>client</direction><proxyURI>telnet://10.0.0.1:13370#thumbprint=AA&amp;verify</proxyURI></backing><connectable><startConnected>true</startConnected><allowGuestControl>true</allowGuestControl><connected>true</connected><status>ok</status></connectable><controllerKey>400</controllerKey><unitNumber>2</unitNumber><yieldOnPoll>true</yieldOnPoll></VirtualDevice>
<VirtualDevice xsi:type="VirtualE1000"><key>4000</key></VirtualDevice>
<VirtualDevice xsi:type="VirtualSerialPort"><key>9000</key><deviceInfo><label>Serial port 1</label></deviceInfo><backing xsi:type="VirtualSerialPortPipeBackingInfo"><pipeName>p</pipeName><endpoint>client</endpoint></backing><yieldOnPoll>false</yieldOnPoll></VirtualDevice>
<VirtualDevice xsi:type="VirtualSerialPort"><key>9002</key><backing xsi:type="VirtualSerialPortFileBackingInfo"><fileName>f</fileName></backing></VirtualDevice>
</val>`

describe('serial ports', () => {
  test('are read by key, whatever their place among the devices', () => {
    const ports = readSerialPorts(xml(DEVICES))
    expect(ports.map(({ key, label }) => [key, label])).toEqual([
      [9000, 'Serial port 1'],
      [9001, 'Serial port 2'],
      [9002, ''],
    ])
    expect(ports.map(({ backing }) => backing)).toEqual([
      { kind: 'pipe', pipeName: 'p', endpoint: 'client' },
      {
        kind: 'uri',
        serviceURI: 'vspc',
        direction: 'client',
        proxyURI: 'telnet://10.0.0.1:13370#thumbprint=AA&verify',
      },
      { kind: 'other', type: 'VirtualSerialPortFileBackingInfo' },
    ])
    expect(ports[1]).toMatchObject({ connected: true, startConnected: true, status: 'ok' })
    expect(ports[0]).toMatchObject({ connected: false, status: null })
    expect(readSerialPorts(null)).toEqual([])
  })

  test('an edit echoes the whole device: only what was asked for is different, and its status is left to the server', () => {
    const port = readSerialPorts(xml(DEVICES))[1]!
    const before = encodeElement({ ...port.device, name: 'device' })
    const disconnect = editSerialPort(port, { connected: false })
    expect(textOf(disconnect, 'operation')).toBe('edit')
    expect(encodeElement(childOf(disconnect, 'device')!)).toBe(
      before.replace('<connected>true</connected><status>ok</status>', '<connected>false</connected>'),
    )
    const repointed = editSerialPort(port, {
      backing: { serviceURI: 'vspc', direction: 'client', proxyURI: 'telnet://10.0.0.2:13370' },
      connected: true,
    })
    expect(encodeElement(childOf(repointed, 'device')!)).toBe(
      before
        .replace('telnet://10.0.0.1:13370#thumbprint=AA&amp;verify', 'telnet://10.0.0.2:13370')
        .replace('<status>ok</status>', ''),
    )
  })

  test('a port that cannot be connected is not connected by guessing', () => {
    const port = readSerialPorts(xml(DEVICES))[0]!
    expect(() => editSerialPort(port, { connected: true })).toThrow(
      expect.objectContaining({ code: 'VSPC_VSPHERE_STATE' }),
    )
  })

  test('adding and removing', () => {
    const added = encodeElement(addSerialPort({ serviceURI: 's', direction: 'server', proxyURI: null }))
    expect(added).toContain('<operation>add</operation><device xsi:type="VirtualSerialPort"><key>-1</key>')
    expect(added).not.toContain('proxyURI')
    const port = readSerialPorts(xml(DEVICES))[2]!
    expect(encodeElement(removeSerialPort(port))).toContain(
      '<operation>remove</operation><device xsi:type="VirtualSerialPort"><key>9002</key>',
    )
  })
})

test("a host's management addresses: the selected interface, else the first, no link-local ones", () => {
  const nic = (key: string, ip: string) =>
    `<candidateVnic><key>${key}</key><spec><ip><ipAddress>${ip}</ipAddress><ipV6Config><ipV6Address><ipAddress>fe80::1</ipAddress></ipV6Address><ipV6Address><ipAddress>2001:db8::${key}</ipAddress></ipV6Address></ipV6Config></ip></spec></candidateVnic>`
  const net = (type: string, selected: string) =>
    `<VirtualNicManagerNetConfig><nicType>${type}</nicType>${nic('1', '10.0.0.1')}${nic('2', '10.0.0.2')}${selected}</VirtualNicManagerNetConfig>`
  const host = (configs: string) =>
    hostInfo({
      ref: { type: 'HostSystem', value: 'host-1' },
      properties: new Map([
        ['name', leaf('val', 'esx1')],
        ['config.virtualNicManagerInfo.netConfig', xml(`<val>${configs}</val>`)],
      ]),
      missing: new Map(),
    }).managementIps
  expect(
    host(net('vmotion', '<selectedVnic>1</selectedVnic>') + net('management', '<selectedVnic>2</selectedVnic>')),
  ).toEqual(['10.0.0.2', '2001:db8::2'])
  expect(host(net('management', ''))).toEqual(['10.0.0.1', '2001:db8::1'])
  expect(host('')).toEqual([])
})

test('custom values and extraConfig', () => {
  const values = xml(
    '<val><CustomFieldValue xsi:type="CustomFieldStringValue"><key>3</key><value>web</value></CustomFieldValue><CustomFieldValue><key>9</key><value>gone</value></CustomFieldValue></val>',
  )
  expect([...readCustomValues(values, new Map([[3, 'role']]))]).toEqual([['role', 'web']])
  expect([...readCustomValues(undefined, new Map())]).toEqual([])
  const extra = xml(
    '<val><OptionValue><key>guestinfo.a</key><value xsi:type="xsd:string"> x </value></OptionValue><OptionValue><key>b</key><value/></OptionValue></val>',
  )
  expect([...readExtraConfig(extra)]).toEqual([
    ['guestinfo.a', ' x '],
    ['b', ''],
  ])
})

test.each([
  ['564d0f39-1234-5678-9abc-0123456789ab', '564d0f39-1234-5678-9abc-0123456789ab'],
  ['564D0F39123456789ABC0123456789AB', '564d0f39-1234-5678-9abc-0123456789ab'],
  ['VMware-56 4d 0f 39 12 34 56 78-9a bc 01 23 45 67 89 ab', '564d0f39-1234-5678-9abc-0123456789ab'],
  ['564d0f39', null],
  ['deadbeefcafe', null],
  ['VMware-', null],
  ['', null],
  ['/DC0/vm/564d0f39-1234-5678-9abc-0123456789ab', null],
])('UUID %j is %j', (text, uuid) => {
  expect(parseUuid(text)).toBe(uuid)
})

describe('URLs', () => {
  test.each([
    ['https://VC.example', { host: 'vc.example', tcpPort: 443, path: '/sdk' }, 'https://vc.example/sdk'],
    ['https://[::1]:8443/sdk', { host: '::1', tcpPort: 8443, path: '/sdk' }, 'https://[::1]:8443/sdk'],
    ['https://[::1]/', { host: '::1', tcpPort: 443, path: '/sdk' }, 'https://[::1]/sdk'],
  ])('%s', (text, url, formatted) => {
    expect(parseVsphereUrl(text)).toEqual(url)
    expect(formatVsphereUrl(url)).toBe(formatted)
    expect(parseVsphereUrl(formatted)).toEqual(url)
  })

  test.each([
    'http://vc/sdk',
    'vc.example',
    'https://user:hunter2@vc/sdk',
    'https://vc/sdk?x=hunter2',
    'https://hunter2 x/',
    '',
  ])('refused, without saying what may be a password: %s', (text) => {
    try {
      parseVsphereUrl(text)
      throw new Error('was taken')
    } catch (error) {
      expect(error).toMatchObject({ code: 'VSPC_VSPHERE_URL' })
      expect(`${error} ${String((error as Error).cause)}`).not.toContain('hunter2')
    }
  })
})

describe('property collector', () => {
  test('a query for a view goes through its members; a view that is gone is not reported as an empty one', () => {
    const query = { type: 'VirtualMachine', properties: ['name'] }
    const spec = encodeElement(propertySpec({ ...query, view: { type: 'ContainerView', value: 'v' } })('specSet'))
    const objects = [{ type: 'VirtualMachine', value: 'vm-1' }]
    expect(encodeElement(propertySpec({ ...query, objects })('specSet'))).toContain(
      // One that is gone does not hide the others.
      '<reportMissingObjectsInResults>true</reportMissingObjectsInResults>',
    )
    expect(spec).toBe(
      '<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet><objectSet><obj type="ContainerView">v</obj><skip>true</skip><selectSet xsi:type="TraversalSpec"><name>members</name><type>ContainerView</type><path>view</path><skip>false</skip></selectSet></objectSet></specSet>',
    )
  })

  test('what may not be read is told apart from what is not set', () => {
    const { objects, token } = readRetrieved(
      xml(
        '<R><returnval><token>t1</token><objects><obj type="VirtualMachine">vm-1</obj><propSet><name>name</name><val xsi:type="xsd:string">a</val></propSet><missingSet><path>config</path><fault><fault xsi:type="NoPermission"/><localizedMessage/></fault></missingSet></objects></returnval></R>',
      ),
    )
    expect(token).toBe('t1')
    expect(objects[0]?.properties.get('name')?.text).toBe('a')
    expect([...(objects[0]?.missing ?? [])]).toEqual([['config', 'NoPermission']])
    expect(readRetrieved(xml('<R/>'))).toEqual({ objects: [], token: null })
  })

  test('updates: values, what is no longer set, what left, what is missing, several filters', () => {
    const change = (name: string, value: string) => `<changeSet><name>${name}</name><op>assign</op>${value}</changeSet>`
    const set = readUpdates(
      xml(`<R><returnval><version>7</version><truncated>true</truncated>
<filterSet><filter type="PropertyFilter">f</filter><objectSet><kind>modify</kind><obj type="VirtualMachine">vm-1</obj>${change('runtime.host', '<val type="HostSystem" xsi:type="ManagedObjectReference">host-2</val>')}${change('config', '')}</objectSet><objectSet><kind>leave</kind><obj type="VirtualMachine">vm-2</obj></objectSet></filterSet>
<filterSet><filter type="PropertyFilter">g</filter><missingSet><obj type="VirtualMachine">vm-3</obj><fault/></missingSet></filterSet></returnval></R>`),
    )
    expect(set).toMatchObject({ version: '7', truncated: true })
    expect(set?.updates.map(({ ref, kind }) => [ref.value, kind])).toEqual([
      ['vm-1', 'modify'],
      ['vm-2', 'leave'],
      ['vm-3', 'leave'],
    ])
    expect(set?.updates[0]?.changes.get('runtime.host')).toMatchObject({ refType: 'HostSystem', text: 'host-2' })
    expect(set?.updates[0]?.changes.get('config')).toBeNull()
    expect(readUpdates(xml('<R/>'))).toBeNull()
  })
})

test('parts that are null are left out, in the order given', () => {
  expect(encodeElement(node('s', [leaf('a', 1), null, refElement('b', { type: 'T', value: 'v' })]))).toBe(
    '<s><a>1</a><b type="T">v</b></s>',
  )
})
