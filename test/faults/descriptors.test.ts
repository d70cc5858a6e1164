/** No file descriptor is left: said and counted, never a spinning or a deaf listener, over when there are some again. */
import { expect, test } from 'vitest'
import { Serve, until } from './support.ts'
import { Attached, Bystander, bootVm, identityOf } from './support-bystander.ts'
import { Crowd } from './support-crowd.ts'

const OPEN_FILES = 256
const TOO_MANY = 400

/** Not idle, but far from a loop that runs round and round. */
async function isCalm(serve: Serve, bystander: Bystander): Promise<void> {
  const [cpu, started] = [serve.cpuMs, performance.now()]
  await bystander.beatsOn(60)
  expect(serve.cpuMs - cpu).toBeLessThan((performance.now() - started) / 2 + 20)
}

test('VMs take all descriptors: further ones are refused and it is said once; consoles and VMs that are there go on', async () => {
  const serve = await Serve.start({ openFiles: OPEN_FILES })
  const bystander = await Bystander.start(serve)
  const files = serve.openFiles
  const crowd = new Crowd({ port: serve.vmPort, count: TOO_MANY })
  await crowd.until('all were taken or refused', ({ open }) => open === TOO_MANY)
  const line = await serve.logged(/^listener: accept$/)
  expect(line).toMatchObject({ level: 'warn', code: 'VSPC_TRANSPORT_LISTEN', peer: null })
  expect(line['reason']).toMatch(
    /no file descriptor is left; raise the limit of open files \(ulimit -n, LimitNOFILE=\) \(\d+ of 256 are taken/,
  )
  await until('the others are refused', async () => {
    const metrics = await serve.metrics()
    const [accepted, refused] = ['vm_connections_accepted', 'listener_problems'].map((name) =>
      Number(metrics.get(`vspc_${name}_total`)),
    )
    // The bystander is one of those accepted.
    return Number(accepted) + Number(refused) === TOO_MANY + 1 && Number(accepted) > OPEN_FILES / 2
  })
  await isCalm(serve, bystander)
  // A few are left for people: another console, and what it wants to read.
  const reader = await Attached.open(serve, identityOf(999_999).id, 'mode=read&from=0')
  await reader.expectText('<0')
  expect((await fetch(`${serve.url}/api/v1/ports`)).status).toBe(200)
  crowd.reset()
  await serve.givesBack(files)
  await bootVm(serve, 1)
  expect(serve.lines(/^listener: accept$/)).toHaveLength(1)
  expect(serve.complaints).toEqual(['listener: accept'])
  await bystander.verify()
  await serve.stop()
})

test('people take all descriptors: they are refused, and VMs too, and both is said; over when they have left', async () => {
  const serve = await Serve.start({ openFiles: OPEN_FILES })
  const bystander = await Bystander.start(serve)
  const files = serve.openFiles
  const crowd = new Crowd({ port: Number(new URL(serve.url).port), count: TOO_MANY })
  await crowd.until('all were taken or refused', ({ open }) => open === TOO_MANY)
  const line = await serve.logged(/^consoles and HTTP requests are refused: no file descriptor is left/)
  expect(line).toMatchObject({ level: 'error', reason: expect.stringMatching(/^\d+ of 256 are taken/) })
  await isCalm(serve, bystander)
  const vm = new Crowd({ port: serve.vmPort, count: 1 })
  await vm.until('it is refused', ({ left }) => left === 1)
  await serve.logged(/^listener: accept$/)
  crowd.reset()
  await serve.givesBack(files)
  await bootVm(serve, 1)
  expect(serve.log.filter(({ level }) => level === 'error')).toHaveLength(1)
  await bystander.verify()
  await serve.stop()
})
