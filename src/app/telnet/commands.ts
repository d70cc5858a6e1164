/** What letters after the escape do at a Telnet console. Letters as in conserver and in `vspc attach`. */
import type { ConsoleAction, ConsoleRequest } from '../../vspc/index.ts'

/** Needs a line of its own: which console, or what to say. */
interface Question {
  readonly ask: string
  /** @returns null: that is no answer. */
  readonly request: (answer: string) => ConsoleRequest | null
}

export interface TelnetCommand {
  readonly does: 'leave' | 'menu' | 'help' | ConsoleRequest | Question
  readonly help: string
  /** Not offered where it is not allowed. */
  readonly needs?: ConsoleAction
}

const COMMANDS: { readonly [key: string]: TelnetCommand } = {
  '.': { does: 'leave', help: 'leave' },
  m: { does: 'menu', help: 'back to the menu' },
  '?': { does: 'help', help: 'this help' },
  w: { does: { type: 'who' }, help: 'who is attached' },
  a: { does: { type: 'mode', mode: 'write' }, help: 'write, if nobody holds the port', needs: 'write' },
  q: {
    does: { type: 'mode', mode: 'write', wait: true },
    help: 'ask for it: write when it is your turn',
    needs: 'request',
  },
  f: { does: { type: 'mode', mode: 'write', force: true }, help: 'write, whoever holds the port', needs: 'force' },
  x: { does: { type: 'mode', mode: 'exclusive' }, help: 'write as the only one', needs: 'exclusive' },
  X: {
    does: { type: 'mode', mode: 'exclusive', wait: true },
    help: 'write as the only one when it is your turn',
    needs: 'request',
  },
  c: { does: { type: 'cancel' }, help: 'ask no longer', needs: 'request' },
  s: { does: { type: 'mode', mode: 'read' }, help: 'spy: read only' },
  y: { does: { type: 'yield' }, help: 'hand over to who has asked first', needs: 'write' },
  Y: {
    does: {
      ask: 'hand over to which console? ',
      request: (answer) => (/^\d{1,9}$/.test(answer) ? { type: 'yield', to: Number(answer) } : null),
    },
    help: 'hand over to another who has asked',
    needs: 'write',
  },
  k: {
    does: {
      ask: 'throw out which console, and why? ',
      request: (answer) => {
        const match = /^(\d{1,9})(?:\s+(.*))?$/.exec(answer)
        return match === null ? null : { type: 'kick', console: Number(match[1]), reason: match[2] ?? '' }
      },
    },
    help: 'throw somebody out',
    needs: 'kick',
  },
  b: {
    does: { ask: 'to all here: ', request: (answer) => (answer === '' ? null : { type: 'say', text: answer }) },
    help: 'say something to all who are attached',
    needs: 'say',
  },
  l: { does: { type: 'break' }, help: 'send a break', needs: 'break' },
}

export function telnetCommand(byte: number): TelnetCommand | null {
  const key = String.fromCharCode(byte)
  return Object.hasOwn(COMMANDS, key) ? (COMMANDS[key] ?? null) : null
}

/** @param keys what begins a command, as people write it. @param hasMenu whether there is a menu to go back to. */
export function commandHelp(keys: string, hasMenu: boolean, may: readonly ConsoleAction[]): string[] {
  const offered = Object.entries(COMMANDS).filter(
    ([, { does, needs }]) => (does !== 'menu' || hasMenu) && (needs === undefined || may.includes(needs)),
  )
  const lines = offered.map(([key, { help }]) => `${keys} ${key}  ${help}`)
  return [...lines, `${keys} ${keys.slice(0, 2)}  type ${keys} itself`]
}
