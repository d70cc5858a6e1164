import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { guestProgram } from './programs.ts'

const run = promisify(execFile)

/**
 * What runs in the guest: busybox with all its applets (vi, less, top, stty ...), a root shell with the prompt
 * {@link QEMU_PROMPT} on every serial port there is, and `counter COUNT [MICROSECONDS] [FIRST]`.
 *
 * Each shell opens its tty as session leader, so that Ctrl-C and job control work as on a real console.
 */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b --install -s /bin
export PATH=/bin HOME=/root TERM=vt100 PS1='vm# '
cd /root
hostname vm
@EXTRA@
for port in 1 2 3; do
  grep -q "^$port: uart:16" /proc/tty/driver/serial || continue
  (while :; do setsid sh -c "exec sh -i </dev/ttyS$port >/dev/ttyS$port 2>&1"; done) &
done
while :; do setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'; done
`

const COUNTER = `#!/bin/busybox sh
# counter COUNT [MICROSECONDS] [FIRST]: consecutive numbers, one per line, a pause after each
count=\${1:-100} pause=\${2:-0} n=\${3:-1}
last=$((n + count - 1))
while [ $n -le $last ]; do
  echo $n
  [ $pause = 0 ] || usleep $pause
  n=$((n + 1))
done
`

/** What the guest's shell prints when it waits for a command. */
export const QEMU_PROMPT = 'vm# '

/**
 * Builds the initramfs in `cacheDir`, or takes it from there; the file's name holds a hash of all that is in it.
 * @param extra shell lines run before the first prompt.
 */
export async function buildInitramfs(cacheDir: string, extra: string): Promise<string> {
  const busybox = guestProgram('busybox')
  const init = INIT.replace('@EXTRA@', () => extra)
  const hash = createHash('sha256').update(readFileSync(busybox)).update('\0').update(init).update('\0').update(COUNTER)
  const image = join(cacheDir, `initramfs-${hash.digest('hex').slice(0, 16)}.cpio`)
  const present = await access(image).then(
    () => true,
    () => false,
  )
  if (present) return image

  mkdirSync(cacheDir, { recursive: true })
  const work = mkdtempSync(join(tmpdir(), 'vspc-initramfs-'))
  try {
    const root = join(work, 'root')
    for (const folder of ['bin', 'dev', 'proc', 'sys', 'tmp', 'root'])
      mkdirSync(join(root, folder), { recursive: true })
    copyFileSync(busybox, join(root, 'bin/busybox'))
    writeFileSync(join(root, 'init'), init)
    writeFileSync(join(root, 'bin/counter'), COUNTER)
    for (const program of ['init', 'bin/busybox', 'bin/counter']) chmodSync(join(root, program), 0o755)
    // Beside the final name first: two processes may build the same image at the same moment.
    const partial = `${image}.${process.pid}`
    const pack = 'cd "$1" && find . | "$2" --create --format=newc --quiet --owner=0:0 >"$3"'
    await run('sh', ['-c', pack, 'pack', root, guestProgram('cpio'), partial])
    renameSync(partial, image)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return image
}
