/** The pure parts of `vspc point`: URIs and labels, what is planned, and what other tools are told. */
import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { VspcError } from '../../src/base/index.ts'
import {
  type PointChoice,
  type PointVm,
  planPoint,
  type WantedFlags,
  type WantedPort,
  wantedHints,
  wantedPort,
} from '../../src/cli/point-plan.ts'
import { formatPrinted, printedVm, printOthers } from '../../src/cli/point-print.ts'
import { govcName, powershellString, shellWord, yamlString } from '../../src/cli/point-quoting.ts'
import { failedOutcome, formatOutcomes, pointedOutcome, printableJson } from '../../src/cli/point-report.ts'
import { labelOfServiceUri, proxyHost, proxyUriFault, proxyUriHints, withLabel } from '../../src/cli/point-uris.ts'
import { parseVmArgument } from '../../src/cli/point-vms.ts'
import { parseServiceUri } from '../../src/vspc/identity.ts'
import { leaf, type SerialPort } from '../../src/vsphere/index.ts'

const URIS: WantedFlags = {
  serviceUri: 'telnet://vspc:13370',
  proxyUri: 'telnet://10.0.0.9:13370',
  direction: 'server',
}
const WANTED = wantedPort(URIS)
const ANY: PointChoice = { port: null, add: false }

function port(key: number, change: Partial<SerialPort> = {}): SerialPort {
  return {
    key,
    label: `Serial port ${key - 8_999}`,
    backing: {
      kind: 'uri',
      serviceURI: WANTED.serviceURI,
      direction: WANTED.direction,
      proxyURI: WANTED.proxyURI,
    },
    connected: true,
    startConnected: true,
    status: 'ok',
    device: leaf('device', ''),
    ...change,
  }
}

const uri = (serviceURI: string, proxyURI: string | null = WANTED.proxyURI, direction = 'server') =>
  ({ kind: 'uri', serviceURI, direction, proxyURI }) as const

function vm(ports: SerialPort[], poweredOn = true): PointVm {
  return { ref: { type: 'VirtualMachine', value: 'vm-1' }, name: 'web1', instanceUuid: null, poweredOn, ports }
}

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return `${(error as VspcError).code}: ${(error as VspcError).message}`
  }
  return 'nothing'
}

describe('labels', () => {
  test.each([
    ['telnet://vspc:13370', 'telnet://vspc:13370/?port=com1'],
    ['telnet://vspc:13370/', 'telnet://vspc:13370/?port=com1'],
    ['telnet://vspc', 'telnet://vspc/?port=com1'],
    ['vSPC.py', 'vSPC.py?port=com1'],
    ['vSPC.py?a=b', 'vSPC.py?a=b&port=com1'],
    ['vSPC.py?', 'vSPC.py?port=com1'],
    ['vSPC.py?port=com1', 'vSPC.py?port=com1'],
    ['telnet://vspc/com1', 'telnet://vspc/com1'],
  ])('%s becomes %s, which the server reads as com1', (before, after) => {
    expect(withLabel(before, 'com1')).toBe(after)
    expect(parseServiceUri(new TextEncoder().encode(after)).label).toBe('com1')
  })

  test('what the server would not take for a label, or as another one, is refused before anything is changed', () => {
    expect(codeOf(() => withLabel('vspc', 'com 1'))).toMatch(/^VSPC_USAGE: --label: "com 1" is none/)
    expect(codeOf(() => withLabel('vspc', 'x'.repeat(65)))).toMatch(/^VSPC_USAGE/)
    expect(codeOf(() => withLabel('vspc?port=b', 'a'))).toMatch(/says the label "b" already/)
    expect(codeOf(() => withLabel('telnet://vspc/b', 'a'))).toMatch(/says the label "b" already/)
    expect(codeOf(() => withLabel('vspc?port=%zz', 'a'))).toMatch(/says the label "%zz" already/)
  })

  test('are read as the server reads them, whatever the serviceURI', () => {
    const piece = fc.constantFrom('telnet://', 'vspc', ':13370', '/', '?', 'port=', 'com1', '&', '%41', '%', '=', 'é')
    const text = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join('')),
      fc.string({ unit: 'grapheme' }),
    )
    fc.assert(
      fc.property(text, (serviceURI) => {
        expect(labelOfServiceUri(serviceURI)).toBe(parseServiceUri(new TextEncoder().encode(serviceURI)).label)
      }),
    )
  })

  test('once put in, the server reads that very label, or the URI is refused', () => {
    const label = fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/)
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true }), label, (serviceURI, wanted) => {
        let made = ''
        try {
          made = withLabel(serviceURI, wanted)
        } catch (error) {
          expect((error as VspcError).code).toBe('VSPC_USAGE')
          return
        }
        expect(parseServiceUri(new TextEncoder().encode(made)).label).toBe(wanted)
      }),
    )
  })
})

describe('the URIs', () => {
  test.each([
    ['tcp://10.0.0.9:13370', 'neither telnet nor telnets'],
    ['telnet://10.0.0.9', 'host and port are not HOST:PORT'],
    ['telnet://10.0.0.9:13370 ', 'white space'],
    ['telnet://10.0.0.9:0', 'not between 1 and 65535'],
    ['telnet://user@10.0.0.9:1', 'has no user'],
    ['telnets://10.0.0.9:1#thumb=AA', 'none of thumbprint'],
    ['telnet://10.0.0.9:1#verify', 'write telnets://'],
    ['10.0.0.9:13370', 'no URI'],
    ['', 'no URI'],
  ])('proxyURI %j is refused: %s', (proxyUri, why) => {
    expect(codeOf(() => wantedPort({ ...URIS, proxyUri }))).toMatch(/^VSPC_USAGE: --proxy-uri/)
    expect(proxyUriFault(proxyUri)).toContain(why)
  })

  test.each([
    ['', 'empty'],
    [' ', 'empty'],
    ['vspc ', 'white space'],
    ['a\u0001b', 'control characters'],
    ['a b', 'white space'],
    ['\ud800', 'control characters'],
    ['x'.repeat(1_025), 'longer than'],
  ])('serviceURI %j is refused: %s', (serviceUri, why) => {
    expect(codeOf(() => wantedPort({ ...URIS, serviceUri }))).toMatch(new RegExp(`^VSPC_USAGE: --service-uri.*${why}`))
  })

  test('what is seldom meant is allowed, with a word about it', () => {
    expect(wantedHints(WANTED)).toEqual([])
    const odd = wantedPort({ serviceUri: 'vspc', proxyUri: 'telnets://127.0.0.1:1#thumbprint=AB', direction: 'client' })
    expect(wantedHints(odd)).toEqual([
      expect.stringContaining('looks like a URL'),
      expect.stringContaining('20 hex pairs'),
      expect.stringContaining('the ESXi host itself'),
      expect.stringContaining('allowDial'),
    ])
    const thumbprint = Array.from({ length: 20 }, () => 'AB').join(':')
    expect(proxyUriHints(`telnets://10.0.0.9:1#thumbprint=${thumbprint}&verify`)).toEqual([])
  })

  test('host and port of a proxyURI, IPv6 without brackets', () => {
    expect(proxyHost('telnets://[2001:db8::1]:13370#verify')).toEqual({ host: '2001:db8::1', tcpPort: 13370 })
    expect(proxyHost('telnet://esx1.example:1')).toEqual({ host: 'esx1.example', tcpPort: 1 })
    expect(proxyHost('tcp://x:1')).toBeNull()
  })
})

describe('the plan', () => {
  test('what is right is left alone, whether the VM is on or off', () => {
    expect(planPoint(vm([port(9000)]), WANTED, ANY)).toMatchObject({ do: 'keep', hints: [] })
    expect(planPoint(vm([port(9000, { connected: false })], false), WANTED, ANY)).toMatchObject({ do: 'keep' })
  })

  test('a connected port is disconnected before its backing changes, and the others are not touched', () => {
    const ports = [
      port(9000, { backing: uri('vspc', 'telnet://old:1', 'client') }),
      port(9001, { backing: uri('x?port=b') }),
    ]
    expect(planPoint(vm(ports), WANTED, ANY)).toEqual({
      do: 'change',
      port: ports[0],
      changes: [
        'serviceURI vspc -> telnet://vspc:13370',
        'direction client -> server',
        'proxyURI telnet://old:1 -> telnet://10.0.0.9:13370',
      ],
      hints: [],
      newBacking: true,
      disconnect: true,
      connect: true,
    })
  })

  test('of a VM that is off nothing is disconnected or connected', () => {
    const off = vm([port(9000, { backing: uri('vspc', null), connected: false, startConnected: false })], false)
    expect(planPoint(off, WANTED, ANY)).toMatchObject({
      do: 'change',
      changes: [expect.any(String), 'proxyURI none -> telnet://10.0.0.9:13370', 'connects at power-on'],
      disconnect: false,
      connect: false,
    })
  })

  test.each([
    ['is not connected', { connected: false }, ['connects it'], false],
    ['does not start connected', { startConnected: false }, ['connects at power-on'], false],
    ['was given up by its host', { status: 'unrecoverableError' }, [expect.stringContaining('again')], true],
  ])('a port that %s is not right, though its backing is', (_name, change, changes, disconnect) => {
    expect(planPoint(vm([port(9000, change)]), WANTED, ANY)).toMatchObject({
      do: 'change',
      changes,
      disconnect,
      newBacking: false,
    })
  })

  test('without a label it is the first network port, and a pipe before it is none', () => {
    const pipe = port(9000, { backing: { kind: 'pipe', pipeName: 'p', endpoint: 'server' } })
    expect(planPoint(vm([pipe, port(9001)]), WANTED, ANY)).toMatchObject({ do: 'keep', port: { key: 9001 } })
    expect(planPoint(vm([pipe]), WANTED, ANY)).toMatchObject({ do: 'add' })
  })

  test('with a label it is the port that has it, else one without, and never one with another', () => {
    const wanted = wantedPort({ ...URIS, label: 'com2' })
    const com1 = port(9000, { backing: uri('telnet://vspc:13370/?port=com1') })
    const com2 = port(9002, { backing: uri('telnet://vspc:13370/?port=com2') })
    const bare = port(9001)
    expect(planPoint(vm([com1, bare, com2]), wanted, ANY)).toMatchObject({ do: 'keep', port: { key: 9002 } })
    expect(planPoint(vm([com1, bare]), wanted, ANY)).toMatchObject({ do: 'change', port: { key: 9001 } })
    expect(planPoint(vm([com1]), wanted, ANY)).toMatchObject({
      do: 'cannot',
      why: 'ambiguous',
      message: 'its ports have other labels: Serial port 1 (com1); name one by --port, or add another with --add',
    })
    expect(planPoint(vm([com1]), wanted, { port: null, add: true })).toMatchObject({ do: 'add' })
  })

  test('--port takes numbers and device labels, and says what is there', () => {
    const pipe = port(9002, { backing: { kind: 'other', type: 'VirtualSerialPortFileBackingInfo' } })
    const ports = [port(9000), port(9001, { backing: uri('b') }), pipe]
    expect(planPoint(vm(ports), WANTED, { port: 2, add: false })).toMatchObject({ do: 'change', port: { key: 9001 } })
    expect(planPoint(vm(ports), WANTED, { port: 'Serial port 1', add: false })).toMatchObject({ do: 'keep' })
    expect(planPoint(vm(ports), WANTED, { port: 3, add: false })).toMatchObject({
      why: 'not-network',
      message: expect.stringContaining('Serial port 3 is no network port (VirtualSerialPortFileBackingInfo)'),
    })
    expect(planPoint(vm(ports), WANTED, { port: 4, add: false })).toMatchObject({
      why: 'no-such-port',
      message: 'it has no serial port 4; it has 1 (Serial port 1), 2 (Serial port 2), 3 (Serial port 3)',
    })
    expect(planPoint(vm([]), WANTED, { port: 1, add: false })).toMatchObject({ why: 'no-such-port' })
  })

  test('two ports that the server could not tell apart are said to be so', () => {
    const step = planPoint(vm([port(9000, { backing: uri('other') }), port(9001)]), WANTED, ANY)
    expect(step).toMatchObject({ hints: ['Serial port 2 has no label either: give each port of a VM its own --label'] })
    const labelled = wantedPort({ ...URIS, label: 'a' })
    const add = planPoint(vm([port(9000, { backing: uri('x?port=a') })], false), labelled, { port: null, add: true })
    expect(add).toMatchObject({ do: 'add', hints: [expect.stringContaining('has the label a, too')] })
  })

  test('adding to a VM that is on is tried, but said to be seldom possible; the 33rd port is not tried', () => {
    expect(planPoint(vm([]), WANTED, ANY)).toMatchObject({ do: 'add', hints: [expect.stringContaining('is off')] })
    expect(planPoint(vm([], false), WANTED, ANY)).toMatchObject({ do: 'add', hints: [] })
    const full = vm(Array.from({ length: 32 }, (_, at) => port(9000 + at)))
    expect(planPoint(full, WANTED, { port: null, add: true })).toMatchObject({ do: 'cannot', why: 'too-many' })
  })

  test('once applied, the plan changes nothing more', () => {
    const applied = (before: SerialPort, wanted: WantedPort, poweredOn: boolean): SerialPort => ({
      ...before,
      backing: { kind: 'uri', serviceURI: wanted.serviceURI, direction: wanted.direction, proxyURI: wanted.proxyURI },
      startConnected: true,
      connected: poweredOn,
      status: 'ok',
    })
    const backing = fc.record({
      kind: fc.constant('uri' as const),
      serviceURI: fc.constantFrom('a', 'a?port=x', 'telnet://vspc:13370', ''),
      direction: fc.constantFrom('server', 'client', 'odd'),
      proxyURI: fc.constantFrom(null, 'telnet://10.0.0.9:13370', 'telnet://b:1'),
    })
    const state = fc.record({ backing, connected: fc.boolean(), startConnected: fc.boolean() })
    const label = fc.constantFrom(undefined, 'x', 'y')
    fc.assert(
      fc.property(fc.array(state, { maxLength: 4 }), fc.boolean(), label, (states, poweredOn, name) => {
        const wanted = wantedPort({ ...URIS, ...(name === undefined ? {} : { label: name }) })
        const ports = states.map((each, at) => port(9000 + at, each))
        const step = planPoint(vm(ports, poweredOn), wanted, ANY)
        if (step.do === 'cannot') return
        const after =
          step.do === 'add'
            ? [...ports, applied(port(9000 + ports.length), wanted, poweredOn)]
            : ports.map((each) =>
                step.do === 'change' && each === step.port ? applied(each, wanted, poweredOn) : each,
              )
        const again = planPoint(vm(after, poweredOn), wanted, ANY)
        // A label that another port has, too, is a matter for people.
        expect(again.do).toBe('keep')
      }),
    )
  })
})

describe('literals of other languages', () => {
  // Everything that a command line can hand over; NUL ends it.
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '').replace(/\p{Cs}/gu, '')),
    fc
      .array(
        fc.constantFrom("'", '"', '\\', '$', '`', '(', ')', ' ', '\n', '*', '{{', '%}', '\u2019', '-', '#', ': '),
        {
          maxLength: 12,
        },
      )
      .map((pieces) => pieces.join('')),
  )

  test('a POSIX shell reads back what was quoted', () => {
    const texts = fc.sample(hostile, 300)
    const words = texts.map(shellWord)
    const run = spawnSync('sh', ['-c', `printf '%s\\0' ${words.join(' ')}`], { encoding: 'utf8' })
    expect(run.stdout.split('\0').slice(0, -1)).toEqual(texts)
  })

  test('YAML reads back what was quoted, and Ansible takes nothing for a template', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const line = `a: ${yamlString(text)}\n`
        expect(parse(line, { logLevel: 'silent' })).toEqual({ a: text })
        expect(line.split('\n')).toHaveLength(2)
        if (/\{[{%#]/.test(text)) expect(line).toMatch(/^a: !unsafe "/)
      }),
    )
  })

  test('PowerShell reads back what was quoted', () => {
    // As its tokenizer does it: two quotes in a row, whichever, stand for the first of them; one ends the string.
    const read = (literal: string): string | null => {
      if (!literal.startsWith("'")) return null
      let text = ''
      for (let i = 1; i < literal.length; i++) {
        const character = literal.charAt(i)
        if (!/['\u2018-\u201b]/.test(character)) text += character
        else if (/['\u2018-\u201b]/.test(literal.charAt(i + 1))) text += literal.charAt(i++)
        else return i === literal.length - 1 ? text : null
      }
      return null
    }
    fc.assert(
      fc.property(hostile, (text) => {
        expect(read(powershellString(text))).toBe(text)
      }),
    )
  })

  test('a name for govc is a pattern that fits this name only', () => {
    expect(govcName('a[b]*?\\c')).toBe('a\\[b\\]\\*\\?\\\\c')
    expect(govcName("it's web-1 (é)")).toBe("it's web-1 (é)")
  })
})

describe('--print', () => {
  const HOSTILE = 'it\'s "$(reboot)" {{x}} `y` \u2019 *'
  const labelled = wantedPort({ ...URIS, serviceUri: "telnet://v'spc:1", label: 'com1' })

  test('names, paths and UUIDs are looked up as what they are, and patterns refused', () => {
    expect(printedVm(parseVmArgument('web1'))).toEqual({ name: 'web1' })
    expect(printedVm(parseVmArgument('vm:web*'))).toEqual({ name: 'web*' })
    expect(printedVm(parseVmArgument('/DC/vm/web1/'))).toEqual({ path: '/DC/vm/web1' })
    expect(printedVm(parseVmArgument('vm:DC/vm/web1'))).toEqual({ path: '/DC/vm/web1' })
    expect(printedVm(parseVmArgument('0123456789ABCDEF0123456789abcdef'))).toEqual({
      uuid: '01234567-89ab-cdef-0123-456789abcdef',
    })
    expect(codeOf(() => printedVm(parseVmArgument('web*')))).toMatch(/VSPC_USAGE: --print knows no patterns/)
    expect(codeOf(() => printedVm(parseVmArgument('folder:/DC/vm')))).toMatch(/VSPC_USAGE/)
    expect(codeOf(() => printedVm(parseVmArgument('a\u001b[31m')))).toMatch(/VSPC_USAGE: "a\[31m" holds control/)
  })

  test.each<[string, PointChoice]>([
    ['any port', ANY],
    ['a new one', { port: null, add: true }],
    ['the second', { port: 2, add: false }],
    ['one by its label', { port: "Serial 'port' 1", add: false }],
  ])('the shell hands govc exactly these words: %s', (_name, choice) => {
    const { govc } = printOthers({ name: HOSTILE }, labelled, choice)
    // In place of govc: what it is called with; and one port, as it would list it.
    const script = `govc() { printf '%s\\0' "$@" >&2; case $1 in
      device.serial.add) echo serialport-9007;;
      device.ls) echo 'serialport-9001  VirtualSerialPort'; echo 'serialport-9000  VirtualSerialPort';;
      device.info) printf 'Name:  serialport-9000\\n  Label:  other\\nName:  serialport-9001\\n  Label:   %s\\n' "Serial 'port' 1";;
      esac; printf '\\1' >&2; }\n${govc}\n`
    const run = spawnSync('sh', ['-euc', script], { encoding: 'utf8' })
    const calls = run.stderr
      .split('\u0001')
      .slice(0, -1)
      .map((call) => call.split('\0').slice(0, -1))
    const name = HOSTILE.replace('*', '\\*')
    const device = choice.add ? 'serialport-9007' : choice.port === null ? 'serialport-9000' : 'serialport-9001'
    expect(calls.slice(-3)).toEqual([
      ['device.disconnect', '-vm', name, device],
      [
        'device.serial.connect',
        '-vm',
        name,
        '-device',
        device,
        '-vspc-proxy',
        'telnet://10.0.0.9:13370',
        '--',
        "telnet://v'spc:1/?port=com1",
      ],
      ['device.connect', '-vm', name, device],
    ])
    expect(calls).toHaveLength(4)
  })

  test('a VM without a port gets one, by the name that govc gives it', () => {
    const { govc } = printOthers({ uuid: 'u' }, { ...WANTED, direction: 'client' }, ANY)
    const script = `govc() { echo "$@" >&2; [ "$1" != device.serial.add ] || echo serialport-9000; }\n${govc}\n`
    const run = spawnSync('sh', ['-euc', script], { encoding: 'utf8' })
    expect(run.stderr.split('\n')).toEqual([
      'device.ls -vm.uuid u serialport-*',
      'device.serial.add -vm.uuid u',
      'device.disconnect -vm.uuid u serialport-9000',
      'device.serial.connect -vm.uuid u -device serialport-9000 -vspc-proxy telnet://10.0.0.9:13370 -client -- telnet://vspc:13370',
      'device.connect -vm.uuid u serialport-9000',
      '',
    ])
  })

  test('a port that is not there is not mistaken for the first one', () => {
    const { govc } = printOthers({ name: 'w' }, WANTED, { port: 3, add: false })
    const script = `govc() { echo "$1" >&2; echo 'serialport-9000  VirtualSerialPort'; }\n${govc}\n`
    expect(spawnSync('sh', ['-uc', script], { encoding: 'utf8' }).stderr).toBe('device.ls\n')
  })

  test('Ansible gets tasks with exactly these values', () => {
    const task = parse(printOthers({ name: HOSTILE }, labelled, ANY).ansible, { logLevel: 'silent' })
    expect(task).toEqual([
      {
        name: 'Serial port to the concentrator',
        'community.vmware.vmware_guest_serial_port': {
          hostname: '{{ vcenter_hostname }}',
          username: '{{ vcenter_username }}',
          password: '{{ vcenter_password }}',
          name: HOSTILE,
          backings: [
            {
              backing_type: 'network',
              state: 'present',
              direction: 'server',
              service_uri: "telnet://v'spc:1/?port=com1",
              proxy_uri: 'telnet://10.0.0.9:13370',
              yield_on_poll: true,
            },
          ],
        },
        delegate_to: 'localhost',
      },
    ])
    const byUuid = parse(printOthers({ uuid: 'u' }, WANTED, ANY).ansible)[0]
    expect(byUuid['community.vmware.vmware_guest_serial_port']).toMatchObject({ uuid: 'u', use_instance_uuid: true })
    const byPath = parse(printOthers({ path: '/DC/vm/web1' }, WANTED, ANY).ansible)[0]
    expect(byPath['community.vmware.vmware_guest_serial_port']).toMatchObject({ name: 'web1' })
  })

  test('PowerCLI looks the VM up exactly, and disconnects before it changes', () => {
    const { powercli } = printOthers({ name: "o'neil*" }, WANTED, { port: 2, add: false })
    expect(powercli).toContain("Where-Object { $_.Name -ceq 'o''neil*' }")
    expect(powercli).toContain('Select-Object -Index 1')
    const order = ["Set-SerialPort 'edit' $port", '$port.Backing.ProxyURI = ', 'Set-SerialPort $operation $port']
    const places = order.map((text) => powercli.indexOf(text))
    expect(places).toEqual([...places].sort((a, b) => a - b))
    expect(places[0]).toBeGreaterThan(0)
    expect(printOthers({ path: "/D'C/vm/w" }, WANTED, ANY).powercli).toContain("FindByInventoryPath('D''C/vm/w')")
  })

  test('all three by default, or one', () => {
    const printed = printOthers({ name: 'web1' }, WANTED, ANY)
    expect(formatPrinted([printed], null).match(/^### .*$/gm)).toEqual([
      '### govc, in a POSIX shell',
      '### PowerCLI',
      '### Ansible: tasks of a playbook',
    ])
    expect(formatPrinted([printed], 'govc')).toBe(`${printed.govc}\n`)
  })
})

describe('what is said', () => {
  test('a table and JSON that no name can turn against the terminal', () => {
    const evil = port(9000, { label: 'Serial\u001b[2J port 1', status: 'ok\u0007' })
    const outcome = pointedOutcome({
      step: planPoint({ ...vm([evil]), name: 'a\u202eb\u001b]0;x\u0007' }, WANTED, ANY),
      vm: { ...vm([evil]), name: 'a\u202eb\u001b]0;x\u0007' },
      port: evil,
      fault: null,
    })
    const lines = formatOutcomes([outcome, failedOutcome('gone', null, 'is not there', 'VSPC_VSPHERE_NOT_FOUND')], 200)
    expect(lines).toEqual([
      expect.stringMatching(/^VM +PORT +RESULT +STATE +WHAT$/),
      expect.stringMatching(/^ab\]0;x +Serial\[2J port 1 +is right +connected, ok +-$/),
      expect.stringMatching(/^gone +- +FAILED +- +see above$/),
    ])
    expect(printableJson([outcome])).not.toMatch(/[\u001b\u0007\u202e]/)
    expect(JSON.parse(printableJson([outcome]))[0].vm).toBe('a\u202eb\u001b]0;x\u0007')
  })
})
