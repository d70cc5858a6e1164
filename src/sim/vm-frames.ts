import { DO, IAC, OPTION, SUB, WILL } from './codes.ts'
import { doubleIac, encodeDoProxy, encodeKnown, encodeSub, encodeVerb, encodeVmware, toBytes } from './wire.ts'

type BytesOrText = Uint8Array | string

/** One method per thing a VM can say; all end in `sendRaw`. Payloads are escaped here. */
export abstract class VmFrames {
  abstract sendRaw(bytes: Uint8Array): boolean

  /** The first bytes of every plain connection [seen: frame 4]. */
  willAuth(): void {
    this.verb(WILL, OPTION.AUTHENTICATION)
  }

  will(option: number): void {
    this.verb(WILL, option)
  }

  do(option: number): void {
    this.verb(DO, option)
  }

  /** Any verb (251-254) and option, without regard to what was negotiated. */
  verb(verb: number, option: number): void {
    this.sendRaw(encodeVerb(verb, option))
  }

  command(command: number): void {
    this.sendRaw(Uint8Array.of(IAC, command))
  }

  /** A suboption of option 232, known or not. */
  suboption(code: number, payload: BytesOrText = new Uint8Array(0)): void {
    this.sendRaw(encodeVmware(code, toBytes(payload)))
  }

  /** A subnegotiation of any option. */
  subnegotiation(option: number, payload: Uint8Array): void {
    this.sendRaw(encodeSub(option, payload))
  }

  known(codes?: readonly number[]): void {
    this.sendRaw(encodeKnown(codes))
  }

  doProxy(direction: string, serviceURI: BytesOrText): void {
    this.sendRaw(encodeDoProxy(direction, serviceURI))
  }

  vcUuid(text: BytesOrText): void {
    this.suboption(SUB.VM_VC_UUID, text)
  }

  vmName(name: BytesOrText): void {
    this.suboption(SUB.VM_NAME, name)
  }

  biosUuid(text: BytesOrText): void {
    this.suboption(SUB.VM_BIOS_UUID, text)
  }

  locationUuid(text: BytesOrText): void {
    this.suboption(SUB.VM_LOCATION_UUID, text)
  }

  begin(sequence: Uint8Array): void {
    this.suboption(SUB.VMOTION_BEGIN, sequence)
  }

  /** Sequence and secret follow each other without a delimiter. */
  peer(sequence: Uint8Array, secret: Uint8Array): void {
    this.sendRaw(encodeVmware(SUB.VMOTION_PEER, sequence, secret))
  }

  complete(sequence: Uint8Array): void {
    this.suboption(SUB.VMOTION_COMPLETE, sequence)
  }

  /** VMOTION-ABORT; without payload on real hosts. */
  abortVmotion(payload: Uint8Array = new Uint8Array(0)): void {
    this.suboption(SUB.VMOTION_ABORT, payload)
  }

  /** Serial output. False: the socket is full. Bytes without 0xFF are sent without a copy: leave them alone. */
  data(bytes: BytesOrText): boolean {
    return this.sendRaw(doubleIac(toBytes(bytes)))
  }
}
