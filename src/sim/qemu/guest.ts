import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { buildInitramfs } from './initramfs.ts'
import { Monitor } from './monitor.ts'
import { findProgram, guestProgram, peersDir } from './programs.ts'

export interface QemuGuestOptions {
  /** One `-serial` argument of QEMU per serial port: ttyS0, ttyS1 ... */
  readonly serial: readonly string[]
  /** Shell lines run before the first prompt (part of the cached image, so keep them constant). */
  readonly init?: string
  /** Further kernel parameters. */
  readonly appendArgs?: string
  /** Further QEMU arguments. */
  readonly qemuArgs?: readonly string[]
  /** Where the built image is kept; default: beside the guest kernel. */
  readonly cacheDir?: string
}

/** A running virtual machine. Whoever started it calls `stop`; it is killed at the latest when this process ends. */
export interface QemuGuest {
  readonly pid: number
  /** What QEMU wrote to its stderr so far. */
  errors(): string
  /**
   * The TCP port that serial port `index` listens on: for `tcp:127.0.0.1:0,server=on,wait=off`, where the kernel
   * picks a free one and QEMU tells which. Throws for a serial port that does not listen on TCP.
   */
  tcpPort(index: number): Promise<number>
  /** Ends the virtual machine the hard way, like a power cut, and waits until it is gone. */
  stop(): Promise<void>
  /** Resolves when QEMU has ended, for whatever reason. */
  readonly ended: Promise<void>
}

/**
 * Boots a Linux guest under TCG (never KVM: it may be unusable where this runs). Resolves once QEMU has set up its
 * serial ports; the first prompt takes some three seconds more.
 *
 * A serial port that listens with `wait=off` discards what the guest prints while nobody is connected: press Enter
 * after dialling to get a prompt.
 */
export async function startQemuGuest(options: QemuGuestOptions): Promise<QemuGuest> {
  const image = await buildInitramfs(options.cacheDir ?? peersDir(), options.init ?? '')
  const args = ['-accel', 'tcg', '-m', '128', '-display', 'none', '-nodefaults', '-no-reboot', '-qmp', 'stdio']
  for (const serial of options.serial) args.push('-serial', serial)
  const append = ['console=ttyS0', 'quiet', 'panic=-1', options.appendArgs ?? ''].join(' ').trim()
  args.push('-kernel', guestProgram('kernel'), '-initrd', image, '-append', append, ...(options.qemuArgs ?? []))

  // A process that is killed cannot clean up: the kernel then ends the guest for it.
  const setpriv = findProgram('setpriv')
  const qemu = guestProgram('qemu')
  const child = setpriv
    ? spawn(setpriv, ['--pdeathsig', 'KILL', qemu, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    : spawn(qemu, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)

  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-16_384)
  })
  const monitor = new Monitor(child)
  const ended = new Promise<void>((resolve) => {
    const done = (reason: string) => {
      process.removeListener('exit', kill)
      monitor.end(new Error(`QEMU has ended (${reason}): ${errors.trim() || 'it said nothing'}`))
      resolve()
    }
    child.once('error', (error) => done(error.message))
    // 'close', not 'exit': by then its stderr has been read.
    child.once('close', (code, signal) => done(signal ?? `exit code ${code}`))
  })

  const stop = async () => {
    kill()
    await ended
  }
  try {
    await once(child, 'spawn')
    await monitor.command('qmp_capabilities')
  } catch (error) {
    await stop()
    throw error
  }
  return {
    pid: child.pid ?? 0,
    errors: () => errors,
    ended,
    stop,
    async tcpPort(index) {
      const chardevs = (await monitor.command('query-chardev')) as { label: string; filename: string }[]
      const filename = chardevs.find(({ label }) => label === `serial${index}`)?.filename ?? 'no such serial port'
      const port = /^(?:disconnected:)?(?:tcp|telnet):.*:(\d+),server=on/.exec(filename)?.[1]
      if (!port) throw new Error(`serial${index} does not listen on TCP: ${filename}`)
      return Number(port)
    },
  }
}
