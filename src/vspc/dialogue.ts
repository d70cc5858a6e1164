/**
 * What a proxy says and hears in VMWARE-TELNET-EXT on one connection: who the VM is, whether we serve it, and the
 * vMotion messages, which it hands to the port.
 *
 * Every message is answered from what is known now; nothing waits for another message except the port id, which waits
 * for the VM's UUID, with a limit.
 */
import { cleanText, errorMessage } from '../base/index.ts'
import {
  decodeVmMessage,
  PROXY_KNOWN_SUBOPTIONS,
  type ProxyMessage,
  SUBOPTION,
  type VmMessage,
} from '../telnet/index.ts'
import { canonicalUuid, matchesService, nameText, parseServiceUri } from './identity.ts'
import { type Introduction, introduction } from './introduction.ts'
import type { Port } from './port.ts'
import type { RefusalReason } from './refusals.ts'
import type { VmSession } from './vm-session.ts'

const KNOWN_TO_US = Uint8Array.from(PROXY_KNOWN_SUBOPTIONS)
/** Lines that one connection may have written about what it does wrong: a few bytes from it would cost us 200 each. */
const MAX_COMPLAINTS = 50
const NOT_A_VM =
  'This is the port of a virtual serial port concentrator: virtual machines connect here, people do not.\r\n' +
  'To reach a console use: vspc ports, vspc attach NAME\r\n'

export class Dialogue {
  readonly #session: VmSession
  #intro: Introduction | null = null
  #agreed = false
  /** WONT-PROXY was said for a serviceURI: another DO-PROXY is looked at again. */
  #refusedUri = false
  #complaints = 0

  constructor(session: VmSession) {
    this.#session = session
  }

  start(): void {
    const session = this.#session
    session.arm(session.core.limits.negotiationMs, () => {
      this.#late('no-agreement', 'no agreement on VMWARE-TELNET-EXT in time')
      session.explain(NOT_A_VM)
    })
  }

  #late(reason: RefusalReason, what: string): void {
    const { core, peer } = this.#session
    core.counters.negotiationTimeouts++
    core.refusals.note(reason, peer, what)
    core.log.warn({ peer: peer.display }, `${what}; closed`)
  }

  /** Option 232, the VM's half. */
  optionChanged(change: 'on' | 'off' | 'refused'): void {
    const session = this.#session
    if (change === 'on') {
      this.#say({ kind: 'KNOWN-SUBOPTIONS-2', codes: KNOWN_TO_US })
      if (!this.#agreed && session.role === 'opening') this.#awaitAnnouncement()
      this.#agreed = true
    } else if (change === 'off') {
      this.#complain(
        'warn',
        { peer: session.peer.display },
        'the VM turned VMWARE-TELNET-EXT off: plain data from here on, no vMotion',
      )
    } else if (session.role === 'opening') {
      const { core, peer } = session
      core.counters.notVmwarePeers++
      core.refusals.note('not-vmware', peer, 'it refuses VMWARE-TELNET-EXT: no ESXi host')
      core.log.info({ peer: peer.display }, 'peer refuses VMWARE-TELNET-EXT: not a VM; told so and closed')
      session.explain(NOT_A_VM)
    }
  }

  #awaitAnnouncement(): void {
    const session = this.#session
    session.arm(session.core.limits.announceMs, () => {
      this.#late('no-announcement', 'neither DO-PROXY nor VMOTION-PEER came in time')
      session.refuse(0)
      session.end()
    })
  }

  /** One suboption. @param payload code byte and body. */
  receive(payload: Uint8Array): void {
    const message = decodeVmMessage(payload)
    const { counters } = this.#session.core
    if (message === null) {
      counters.suboptionAnomalies++
    } else if (message.kind === 'unknown') {
      counters.unknownSuboptions++
      // UNKNOWN-SUBOPTION-RCVD is never answered with itself.
      if (message.code !== SUBOPTION.UNKNOWN_SUBOPTION_RCVD_2)
        this.#say({ kind: 'UNKNOWN-SUBOPTION-RCVD-2', code: message.code })
    } else if (message.kind === 'malformed') {
      counters.suboptionAnomalies++
      this.#complain('warn', { peer: this.#session.peer.display, reason: message.reason }, 'malformed suboption')
      if (message.code === SUBOPTION.DO_PROXY) this.#say({ kind: 'WONT-PROXY' })
    } else {
      this.#handle(message)
    }
  }

  #handle(message: VmMessage): void {
    switch (message.kind) {
      case 'KNOWN-SUBOPTIONS-1':
        // A copy: the rest of a long list is not worth keeping.
        this.#introduction().knownToVm = new Uint8Array(message.codes.subarray(0, 256))
        break
      case 'UNKNOWN-SUBOPTION-RCVD-1':
        // Questions are odd, their answers one below.
        this.#unanswered(message.code - 1)
        break
      case 'DO-PROXY':
        this.#doProxy(message.direction, message.serviceURI)
        break
      case 'VM-VC-UUID':
        this.#learn(SUBOPTION.VM_VC_UUID, (intro) => (intro.vcUuid = this.#uuid(message.text)))
        break
      case 'VM-BIOS-UUID':
        this.#learn(SUBOPTION.VM_BIOS_UUID, (intro) => (intro.biosUuid = this.#uuid(message.text)))
        break
      case 'VM-LOCATION-UUID':
        this.#learn(SUBOPTION.VM_LOCATION_UUID, (intro) => (intro.locationUuid = this.#uuid(message.text)))
        break
      case 'VM-NAME':
        this.#learn(SUBOPTION.VM_NAME, (intro) => (intro.name = nameText(message.text)))
        break
      case 'VMOTION-BEGIN':
        this.#begin(message.sequence)
        break
      case 'VMOTION-PEER':
        this.#peer(message.cookie)
        break
      case 'VMOTION-COMPLETE':
        if (this.#session.port?.handover.complete(this.#session, message.sequence) !== true)
          this.#noEffect(message.kind)
        break
      case 'VMOTION-ABORT':
        this.#abort()
        break
    }
  }

  // Introduction

  #introduction(): Introduction {
    this.#intro ??= introduction()
    return this.#intro
  }

  #doProxy(direction: 'server' | 'client', raw: Uint8Array): void {
    const session = this.#session
    const { core } = session
    const uri = parseServiceUri(raw)
    const fields = () => ({ peer: session.peer.display, direction, serviceURI: uri.display })
    const again = session.role === 'refused' && this.#refusedUri
    if (session.role !== 'opening' && session.role !== 'source' && !again) {
      if (session.role !== 'retired') this.#say({ kind: 'WONT-PROXY' })
      this.#complain('warn', fields(), 'DO-PROXY where none belongs; no effect')
      return
    }
    if (session.port !== null) {
      const same = session.port.serviceURI === uri.display && session.port.direction === direction
      if (!same) this.#complain('warn', fields(), 'DO-PROXY with another serviceURI on an attached port; refused')
      this.#say({ kind: same ? 'WILL-PROXY' : 'WONT-PROXY' })
      return
    }
    if (!matchesService(uri, core.serviceUris)) {
      core.counters.wontProxy++
      core.refusals.note('service-uri', session.peer, `its serviceURI "${uri.display}" is not one of "serviceUris"`)
      this.#complain(
        'warn',
        { ...fields(), accepted: core.serviceUris },
        'WONT-PROXY: this serviceURI is not one of "serviceUris"; correct the VM or the configuration',
      )
      this.#say({ kind: 'WONT-PROXY' })
      this.#refusedUri = true
      if (!again) session.refuse(core.limits.refusedLingerMs)
      return
    }
    if (again) session.role = 'opening'
    this.#refusedUri = false
    const intro = this.#introduction()
    intro.serviceUri = uri
    intro.direction = direction
    this.#say({ kind: 'WILL-PROXY' })
    this.#ask(intro)
    // Once: a host that repeats itself must not put off its own deadline.
    if (!intro.accepted || again) session.arm(core.limits.identityMs, () => this.#attach('it did not answer in time'))
    intro.accepted = true
    if (session.link !== null) core.unnamed.add(session)
    this.#attachWhenKnown()
  }

  /** Asks for what is not yet known. BIOS and location UUID only where the VM has said that it knows them. */
  #ask(intro: Introduction): void {
    if (intro.vcUuid === null) this.#question(intro, 'GET-VM-VC-UUID', SUBOPTION.VM_VC_UUID)
    if (intro.name === '') this.#question(intro, 'GET-VM-NAME', SUBOPTION.VM_NAME)
    if (intro.biosUuid === null && intro.knownToVm?.includes(SUBOPTION.GET_VM_BIOS_UUID)) this.#askBios(intro)
    if (intro.locationUuid === null && intro.knownToVm?.includes(SUBOPTION.GET_VM_LOCATION_UUID)) {
      this.#question(intro, 'GET-VM-LOCATION-UUID', SUBOPTION.VM_LOCATION_UUID)
    }
  }

  #askBios(intro: Introduction): void {
    if (intro.biosAsked) return
    intro.biosAsked = true
    this.#question(intro, 'GET-VM-BIOS-UUID', SUBOPTION.VM_BIOS_UUID)
  }

  #question(intro: Introduction, kind: Extract<ProxyMessage, { kind: `GET-${string}` }>['kind'], answer: number): void {
    // DO-PROXY again is answered again; what was asked is not asked again.
    if (intro.waiting.has(answer)) return
    intro.waiting.add(answer)
    this.#say({ kind })
  }

  #learn(code: number, set: (intro: Introduction) => void): void {
    const intro = this.#introduction()
    set(intro)
    this.#answered(intro, code)
  }

  #unanswered(code: number): void {
    if (this.#intro !== null) this.#answered(this.#intro, code)
  }

  #answered(intro: Introduction, code: number): void {
    intro.waiting.delete(code)
    const { port, supersededAt } = this.#session
    if (port === null) {
      this.#attachWhenKnown()
      return
    }
    if (supersededAt > 0) this.#recognize(intro, port)
    else port.learn(intro)
    if (intro.waiting.size === 0) this.#intro = null
  }

  /** The port was taken by a connection that went by the same makeshift name; this one turns out to be another VM's. */
  #recognize(intro: Introduction, port: Port): void {
    const session = this.#session
    if (session.role !== 'retired' || intro.vcUuid === null || intro.vcUuid === port.vcUuid) return
    if (!session.reachable) session.refuse(0)
    else session.core.table.attach(session, intro, { uri: intro.serviceUri, direction: intro.direction })
    port.sessionClosed(session)
  }

  /** Attaches as soon as the best identity the VM is willing to give is there. */
  #attachWhenKnown(): void {
    const intro = this.#intro
    if (intro === null || !intro.accepted || this.#session.role !== 'opening') return
    if (intro.vcUuid === null) {
      if (intro.waiting.has(SUBOPTION.VM_VC_UUID)) return
      if (intro.biosUuid === null) {
        this.#askBios(intro)
        if (intro.waiting.has(SUBOPTION.VM_BIOS_UUID) || intro.waiting.has(SUBOPTION.VM_NAME)) return
      }
    }
    this.#attach('it has none')
  }

  #attach(whyNoUuid: string): void {
    const intro = this.#intro
    const session = this.#session
    if (intro === null || session.role !== 'opening') return
    if (intro.vcUuid === null) {
      session.core.log.warn(
        { peer: session.peer.display, biosUuid: intro.biosUuid, vm: intro.name },
        `VM without VC UUID (${whyNoUuid}): named by BIOS UUID, name or address`,
      )
    }
    session.core.table.attach(session, intro, { uri: intro.serviceUri, direction: intro.direction })
    if (intro.waiting.size === 0) this.#intro = null
  }

  #uuid(text: Uint8Array): string | null {
    const uuid = canonicalUuid(text)
    if (uuid === null && text.length > 0) {
      this.#session.core.counters.suboptionAnomalies++
      this.#complain('warn', { peer: this.#session.peer.display, text: cleanText(text, 64) }, 'not a UUID; ignored')
    }
    return uuid
  }

  // vMotion

  #begin(sequence: Uint8Array): void {
    const session = this.#session
    // Not having learnt the UUID is no reason to refuse: the port gets the best name it can have now.
    if (session.role === 'opening' && this.#intro?.accepted) this.#attach('a vMotion began before it answered')
    if (session.port === null || session.role !== 'source') {
      this.#complain(
        'warn',
        { peer: session.peer.display, role: session.role },
        'VMOTION-BEGIN from a connection that runs no port: NOTNOW',
      )
      this.#say({ kind: 'VMOTION-NOTNOW', sequence })
      return
    }
    try {
      session.port.begin(session, sequence)
    } catch (error) {
      // The host waits stunned: whatever went wrong here, it gets an answer.
      session.core.counters.internalErrors++
      session.core.log.error(
        { port: session.port.id, error: errorMessage(error) },
        'VMOTION-BEGIN failed; answered NOTNOW',
      )
      this.#say({ kind: 'VMOTION-NOTNOW', sequence })
    }
  }

  #peer(cookie: Uint8Array): void {
    const session = this.#session
    const { core } = session
    const found = core.cookies.find(cookie)
    const port = found?.owner ?? null
    const contradicts = port?.vcUuid != null && this.#intro?.vcUuid != null && port.vcUuid !== this.#intro.vcUuid
    const mayPeer = session.role === 'opening' || (session.role === 'destination' && session.port === port)
    if (found === null || port === null || contradicts || !mayPeer || !port.handover.peer(session, found)) {
      core.counters.unknownPeers++
      core.refusals.note('vmotion-peer', session.peer, 'a vMotion with an unknown or used cookie')
      // Never log the payload: most of it may be a live secret.
      this.#complain(
        'warn',
        { peer: session.peer.display, bytes: cookie.length, contradicts },
        'VMOTION-PEER with an unknown or used cookie: not answered; the host will give its vMotion up',
      )
      if (session.role === 'opening') session.refuse(core.limits.unknownPeerLingerMs)
      return
    }
    session.becameDestination(port)
    this.#ask(this.#introduction())
  }

  #abort(): void {
    const session = this.#session
    const { port } = session
    // A port comes back to a source that moved away, never to one that a newer connection took it from, nor to one
    // that was said FIN (it could not be sent anything), nor if it was forgotten meanwhile.
    const listed = port !== null && session.core.table.get(port.id) === port
    const retired = session.role === 'retired' && session.supersededAt === 0 && session.reachable && listed
    if (port?.handover.abort(session, retired) !== true) this.#noEffect('VMOTION-ABORT')
    else if (retired) session.becomeSource()
  }

  #noEffect(kind: VmMessage['kind']): void {
    this.#session.core.counters.suboptionAnomalies++
    this.#complain(
      'info',
      { peer: this.#session.peer.display, kind, role: this.#session.role },
      'message without effect here',
    )
  }

  /** Counters go on; the log does not: what a peer gets wrong it can get wrong a thousand times in one segment. */
  #complain(level: 'info' | 'warn', fields: object, message: string): void {
    if (this.#complaints >= MAX_COMPLAINTS) return
    const { core, peer } = this.#session
    core.log[level](fields, message)
    if (++this.#complaints === MAX_COMPLAINTS) {
      core.log.warn(
        { peer: peer.display },
        `${MAX_COMPLAINTS} complaints about this connection; further ones are only counted`,
      )
    }
  }

  #say(message: ProxyMessage): void {
    this.#session.send(message)
  }
}
