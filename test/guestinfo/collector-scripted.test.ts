/** What a simulator does not do: servers that do not know, VMs without UUID, and a disk that is full for too long. */
import { mkdtempSync, rmSync } from 'node:fs'
import * as fsPromises from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { silentLogger, systemClock } from '../../src/base/index.ts'
import {
  type CollectorNews,
  GuestinfoCollector,
  type GuestinfoLimits,
  type ResultFs,
} from '../../src/guestinfo/index.ts'
import { type Element, leaf, node, refElement, VSPHERE_LIMITS, type VsphereSession } from '../../src/vsphere/index.ts'

const UUID = 'b4689bed-97f0-5bcd-8a4c-07477cc8f06f'
const POLL = { timeout: 10_000, interval: 10 }

interface VmState {
  uuid?: string
  power?: string
  /** Null: the server has none just now; 'denied': it may not be read. */
  keys: Record<string, string> | null | 'denied'
}

/** A session whose server is a list of VMs: a poll waits for `tell`, and a new beginning tells all. */
class ScriptedServer {
  vms: Record<string, VmState> = {}
  beginnings = 0
  #wake: ((vms: Record<string, VmState>) => void) | null = null
  readonly #waiting: Record<string, VmState>[] = []

  /** As they are now, whenever the poll comes. */
  tell(...ids: string[]): void {
    const vms = Object.fromEntries(ids.map((id) => [id, this.vms[id] as VmState]))
    if (this.#wake !== null) this.#wake(vms)
    else this.#waiting.push(vms)
  }

  readonly session = {
    url: 'https://vcenter.example/sdk',
    limits: VSPHERE_LIMITS,
    clock: systemClock,
    log: silentLogger,
    closing: new AbortController().signal,
    content: {
      propertyCollector: ref('PropertyCollector'),
      viewManager: ref('ViewManager'),
      rootFolder: ref('Folder'),
    },
    onRenewed: () => () => {},
    call: (_self: unknown, method: string, args: readonly Element[], options: { signal?: AbortSignal }) =>
      this.#answer(method, args, options.signal),
  } as unknown as VsphereSession

  async #answer(method: string, args: readonly Element[], signal?: AbortSignal): Promise<Element> {
    signal?.throwIfAborted()
    switch (method) {
      case 'CreatePropertyCollector':
      case 'CreateContainerView':
      case 'CreateFilter':
        return node('Response', [refElement('returnval', ref(method))])
      case 'RetrievePropertiesEx':
        return node('Response', [
          node(
            'returnval',
            asked(args).map((id) => this.#identity(id)),
          ),
        ])
      case 'WaitForUpdatesEx':
        return this.#updates(args[0]?.text === '' ? null : await this.#next(signal))
      default:
        return node('Response', [])
    }
  }

  #next(signal?: AbortSignal): Promise<Record<string, VmState>> {
    const waiting = this.#waiting.shift()
    if (waiting !== undefined) return Promise.resolve(waiting)
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason))
      this.#wake = (vms) => {
        this.#wake = null
        resolve(vms)
      }
    })
  }

  #updates(told: Record<string, VmState> | null): Element {
    if (told === null) this.beginnings++
    const kind = told === null ? 'enter' : 'modify'
    const objects = Object.entries(told ?? this.vms).map(([id, { power = 'poweredOn', keys }]) => {
      const missing = node('missingSet', [
        leaf('path', 'config.extraConfig'),
        node('fault', [{ ...leaf('fault', ''), type: 'NoPermission' }]),
      ])
      return node('objectSet', [
        leaf('kind', kind),
        refElement('obj', { type: 'VirtualMachine', value: id }),
        change('runtime.powerState', leaf('val', power)),
        keys === 'denied' ? missing : change('config.extraConfig', keys === null ? null : optionsOf(keys)),
      ])
    })
    return node('Response', [node('returnval', [leaf('version', '1'), node('filterSet', objects)])])
  }

  #identity(id: string): Element {
    const { uuid } = this.vms[id] as VmState
    const property = (name: string, value: string) => node('propSet', [leaf('name', name), leaf('val', value)])
    return node('objects', [
      refElement('obj', { type: 'VirtualMachine', value: id }),
      property('name', `name of ${id}`),
      ...(uuid === undefined ? [] : [property('config.instanceUuid', uuid)]),
    ])
  }
}

const ref = (type: string) => ({ type, value: type })
const change = (name: string, value: Element | null) =>
  node('changeSet', [leaf('name', name), leaf('op', 'assign'), value])
const optionsOf = (keys: Record<string, string>) =>
  node(
    'val',
    Object.entries(keys).map(([key, value]) => node('OptionValue', [leaf('key', key), leaf('value', value)])),
  )
/** The VMs whose properties are asked for. */
const asked = (args: readonly Element[]): string[] =>
  (args[0]?.children ?? [])
    .filter(({ name }) => name === 'objectSet')
    .map(({ children }) => children.find(({ name }) => name === 'obj')?.text ?? '')

function follow(server: ScriptedServer, limits: Partial<GuestinfoLimits> = {}, fs?: ResultFs) {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-scripted-'))
  const news: CollectorNews[] = []
  const collector = new GuestinfoCollector({
    directory: join(folder, 'guestinfo'),
    session: async () => server.session,
    limits: { collectRetryMinMs: 5, collectRetryMaxMs: 20, storeRetryMinMs: 5, storeRetryMaxMs: 20, ...limits },
    ...(fs === undefined ? {} : { fs }),
  })
  collector.subscribe((one) => news.push(one))
  collector.start()
  onTestFinished(async () => {
    await collector.stop()
    rmSync(folder, { recursive: true })
  })
  return { collector, news, types: () => news.map(({ type }) => type) }
}

const address = { 'guestinfo.vspc.address.eth0': '10.0.0.1' }
const error = { 'guestinfo.vspc.error.agent': 'no disk' }
const exit = (code: number) => ({ 'guestinfo.vspc.process.main': `exited code=${code} stopped=${code + 1}` })

test('a server that cannot say just now says nothing: no address is gone, no error cleared', async () => {
  const server = new ScriptedServer()
  server.vms = { a: { uuid: UUID, keys: { ...address, ...error } } }
  const { collector, types } = follow(server)
  await expect.poll(types, POLL).toEqual(['guest-address', 'guest-error'])
  server.vms = { a: { uuid: UUID, keys: null } }
  server.tell('a')
  server.vms = { a: { uuid: UUID, keys: null } }
  server.tell('a')
  server.vms = { a: { uuid: UUID, keys: { ...address, ...error, ...exit(1) } } }
  server.tell('a')
  await expect.poll(types, POLL).toEqual(['guest-address', 'guest-error', 'guest-exit'])
  expect(collector.latest(UUID)).toMatchObject({ name: 'name of a', addresses: [{ address: '10.0.0.1' }] })
})

test('VMs without UUID, and those that may not be read, are counted, and hurt no others; they are taken when they can be', async () => {
  const server = new ScriptedServer()
  server.vms = {
    nameless: { keys: exit(1) },
    denied: { uuid: UUID.replace('b', 'c'), keys: 'denied' },
    good: { uuid: UUID, keys: { ...exit(2), ...address, 'guestinfo.vspc.process.x': 'gibberish' } },
  }
  const { collector, news } = follow(server)
  const exits = () => news.flatMap((one) => (one.type === 'guest-exit' ? [one.record.exitCode] : []))
  await expect.poll(exits, POLL).toEqual([2])
  expect(collector.status).toMatchObject({ state: 'following', vms: 3, unreadableVms: 2, strange: 1 })
  server.vms['nameless'] = { uuid: UUID.replace('b', 'd'), keys: exit(1) }
  server.vms['denied'] = { uuid: UUID.replace('b', 'c'), keys: exit(3) }
  server.tell('nameless', 'denied')
  await expect.poll(exits, POLL).toEqual([2, 1, 3])
  expect(collector.status.unreadableVms).toBe(0)
})

test('what no longer had room while the disk was full is read again when it is well', async () => {
  let full = false
  const fs: ResultFs = {
    ...fsPromises,
    open: async (...args: Parameters<typeof fsPromises.open>) => {
      const handle = await fsPromises.open(...args)
      const datasync = handle.datasync.bind(handle)
      handle.datasync = async () => {
        if (full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
        await datasync()
      }
      return handle
    },
  }
  const server = new ScriptedServer()
  server.vms = { a: { uuid: UUID, keys: exit(0) } }
  const { collector, news, types } = follow(server, { maxPendingBytes: 700 }, fs)
  await expect.poll(types, POLL).toEqual(['guest-exit'])
  full = true
  for (let i = 1; i <= 9; i++) {
    server.vms['a'] = { uuid: UUID, keys: { ...address, ...exit(i) } }
    server.tell('a')
    await expect
      .poll(() => (collector.status.store?.pending ?? 0) + (collector.status.store?.leftOut ?? 0), POLL)
      .toBeGreaterThanOrEqual(i)
  }
  await expect.poll(() => collector.status.trouble?.code, POLL).toBe('VSPC_GUESTINFO_STORE')
  expect(collector.status.store?.leftOut).toBeGreaterThan(0)
  expect(news).toHaveLength(1)
  const { beginnings } = server
  full = false
  await expect.poll(() => server.beginnings, POLL).toBe(beginnings + 1)
  await expect.poll(() => collector.latest(UUID)?.exits[0]?.exitCode, POLL).toBe(9)
  await expect.poll(() => collector.latest(UUID)?.addresses.length, POLL).toBe(1)
  expect(collector.status.trouble).toBeNull()
})
