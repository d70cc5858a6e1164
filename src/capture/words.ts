/** Recorded bytes in protocol words, safe to print: nothing from the wire reaches a terminal unescaped. */
import { formatHex } from '../base/index.ts'
import { commandName, OPTION, optionName, SUBOPTION, suboptionName } from '../telnet/index.ts'
import type { TelnetItem } from './items.ts'
import type { Sequences } from './sequences.ts'

/** RFC 2217: client commands; the server's answer is code + 100. */
const COM_PORT_COMMANDS: Record<number, string> = {
  0: 'SIGNATURE',
  1: 'SET-BAUDRATE',
  2: 'SET-DATASIZE',
  3: 'SET-PARITY',
  4: 'SET-STOPSIZE',
  5: 'SET-CONTROL',
  6: 'NOTIFY-LINESTATE',
  7: 'NOTIFY-MODEMSTATE',
  8: 'FLOWCONTROL-SUSPEND',
  9: 'FLOWCONTROL-RESUME',
  10: 'SET-LINESTATE-MASK',
  11: 'SET-MODEMSTATE-MASK',
  12: 'PURGE-DATA',
}
const SERVER_CODES = 100

/** One item as a dump shows it: `WILL BINARY`, `VMOTION-BEGIN 44 da 87 f1`, `data "login: "`. */
export function itemWords(item: TelnetItem, sequences: Sequences, maxDataBytes: number): string {
  switch (item.kind) {
    case 'data':
      return dataWords(item.bytes, maxDataBytes)
    case 'command':
      return commandName(item.code)
    case 'negotiation':
      return `${commandName(item.verb)} ${optionName(item.option)}`
    case 'sub':
      return subWords(item.option, item.payload, sequences, maxDataBytes)
    case 'anomaly':
      return `! ${item.anomaly}: ${hexWords(item.raw, maxDataBytes)}`
    case 'partial':
      return `! cut off: ${hexWords(item.raw, maxDataBytes)}`
  }
}

export function dataWords(bytes: Uint8Array, maxBytes: number): string {
  const shown = `data "${escapeBytes(bytes.subarray(0, maxBytes))}"`
  return bytes.length > maxBytes ? `${shown}... (${bytes.length} bytes)` : shown
}

function subWords(option: number, payload: Uint8Array, sequences: Sequences, maxBytes: number): string {
  const code = payload[0]
  if (code === undefined) return `SB ${optionName(option)}`
  const body = payload.subarray(1)
  if (option === OPTION.VMWARE_TELNET_EXT)
    return `${suboptionName(code)} ${vmwareBody(code, body, sequences, maxBytes)}`.trimEnd()
  if (option === OPTION.COM_PORT) return `COM-PORT ${comPortName(code)} ${hexWords(body, maxBytes)}`.trimEnd()
  return `SB ${optionName(option)} ${hexWords(payload, maxBytes)}`
}

function vmwareBody(code: number, body: Uint8Array, sequences: Sequences, maxBytes: number): string {
  switch (code) {
    case SUBOPTION.KNOWN_SUBOPTIONS_1:
    case SUBOPTION.KNOWN_SUBOPTIONS_2:
    case SUBOPTION.UNKNOWN_SUBOPTION_RCVD_1:
    case SUBOPTION.UNKNOWN_SUBOPTION_RCVD_2:
      return [...body.subarray(0, maxBytes)].join(' ')
    case SUBOPTION.VMOTION_BEGIN:
      sequences.learn(body)
      return hexWords(body, maxBytes)
    case SUBOPTION.VMOTION_GOAHEAD:
    case SUBOPTION.VMOTION_PEER: {
      const length = sequences.lengthIn(body)
      if (length === null) return `sequence and secret ${hexWords(body, maxBytes)}`
      return `${hexWords(body.subarray(0, length), maxBytes)} secret ${hexWords(body.subarray(length), maxBytes)}`.trimEnd()
    }
    case SUBOPTION.DO_PROXY:
      return `${directionWords(body)} "${escapeText(body.subarray(1, 1 + maxBytes))}"`
    case SUBOPTION.VM_VC_UUID:
    case SUBOPTION.VM_NAME:
    case SUBOPTION.VM_BIOS_UUID:
    case SUBOPTION.VM_LOCATION_UUID:
      return `"${escapeText(body.subarray(0, maxBytes))}"`
    default:
      return hexWords(body, maxBytes)
  }
}

function directionWords(body: Uint8Array): string {
  const [letter] = body
  if (letter === 0x53) return 'server'
  if (letter === 0x43) return 'client'
  return letter === undefined ? '(no direction)' : `(direction ${letter})`
}

function comPortName(code: number): string {
  const name = COM_PORT_COMMANDS[code]
  if (name) return name
  const answered = COM_PORT_COMMANDS[code - SERVER_CODES]
  return answered ? `${answered} (server)` : String(code)
}

function hexWords(bytes: Uint8Array, maxBytes: number): string {
  return bytes.length > maxBytes
    ? `${formatHex(bytes.subarray(0, maxBytes))} ... (${bytes.length} bytes)`
    : formatHex(bytes)
}

const SHORT_ESCAPES: Record<number, string> = { 9: '\\t', 10: '\\n', 13: '\\r', 27: '\\e', 34: '\\"', 92: '\\\\' }

/** Printable ASCII as it is, everything else as an escape. */
export function escapeBytes(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    if (SHORT_ESCAPES[byte]) text += SHORT_ESCAPES[byte]
    else if (byte < 0x20 || byte > 0x7e) text += `\\x${byte.toString(16).padStart(2, '0')}`
    else text += String.fromCharCode(byte)
  }
  return text
}

/** As {@link escapeBytes}, but letters, digits and signs of any script stay where the bytes are UTF-8. */
export function escapeText(bytes: Uint8Array): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // Not UTF-8: whoever edits the VM chooses these bytes.
    return escapeBytes(bytes)
  }
  let out = ''
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0
    if (SHORT_ESCAPES[code]) out += SHORT_ESCAPES[code]
    else out += /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(char) ? char : `\\u{${code.toString(16)}}`
  }
  return out
}
