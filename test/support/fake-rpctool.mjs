#!/usr/bin/env node
/**
 * A double of vmware-rpctool and `vmtoolsd --cmd`, and of the host behind them. Shares no code with ours.
 *
 *     fake-rpctool.mjs STYLE MESSAGE          STYLE = rpctool
 *     fake-rpctool.mjs vmtoolsd --cmd MESSAGE
 *     fake-rpctool.mjs power-cycle            the VM is switched off and on
 *     fake-rpctool.mjs host-set KEY VALUE     as the vSphere API does; an empty VALUE removes the key
 *
 * With FAKE_VCSIM and FAKE_VCSIM_VM it is the tool in a simulated VM: see fake-rpctool-vcsim.mjs. Otherwise
 *
 * the VM is a JSON file, named by FAKE_VM:
 *
 *     values      { KEY: { value, volatile } }. Keys made while the VM is on are volatile: they vanish at its power-off
 *     on          whether the VM is on, for host-set; true
 *     calls       written: [{ style, message, at, end }], milliseconds of the wall clock; values left out
 *     behave      what goes wrong:
 *       notInVm     'message' (rpctool's), 'vmtoolsd' (exit 0 and a warning), 'crash' (SIGSEGV)
 *       secureSet, secureGet    only vmtoolsd may
 *       denyNext    so many calls of vmtoolsd are denied, once one was good
 *       setDisabled nobody may set
 *       slowMs      before it answers; hang: never answers
 *       fail        text for stderr, with exit status 1; failTimes: so many calls only
 *       flood       prints so many bytes
 *
 * What is known of the real ones: read-only keys with a slash, hidden ones without `guestinfo.`, 64 KiB a message, 1 MiB
 * in all, no empty values, "No value found", "Permission denied". The words for the limits are made up.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

if (process.env.FAKE_VCSIM) {
  const { FakeEsx } = await import('./fake-rpctool-vcsim.mjs')
  const [style, ...rest] = process.argv.slice(2)
  const esx = FakeEsx.load(process.env.FAKE_VCSIM)
  const [ok, text] = await esx.rpc(process.env.FAKE_VCSIM_VM, style === 'vmtoolsd' ? rest[1] : rest[0])
  esx.close()
  await new Promise((resolve) => {
    ;(ok ? process.stdout : process.stderr).write(`${text}\n`, resolve)
  })
  process.exit(ok ? 0 : 1)
}

const file = process.env.FAKE_VM
if (!file) throw new Error('FAKE_VM names no file')

const MESSAGE_BYTES = 64 * 1024
const TOTAL_BYTES = 1024 * 1024

const vm = { values: {}, on: true, calls: [], behave: {}, ...JSON.parse(readFileSync(file, 'utf8')) }
const { behave } = vm

function save() {
  const fresh = `${file}.${process.pid}`
  writeFileSync(fresh, JSON.stringify(vm))
  renameSync(fresh, file)
}

function put(key, value) {
  if (value === '') delete vm.values[key]
  else vm.values[key] = { value, volatile: vm.values[key] ? vm.values[key].volatile : vm.on }
}

/** [ok, text] as the host answers. */
function answer(style, message) {
  if (Buffer.byteLength(message) + 1 > MESSAGE_BYTES) return [false, 'Message too long']
  const get = /^info-get (\S+)$/.exec(message)
  if (get) {
    if (behave.secureGet && style !== 'vmtoolsd') return [false, 'Permission denied']
    const found = get[1].startsWith('guestinfo.') ? vm.values[get[1]] : undefined
    return found ? [true, found.value] : [false, 'No value found']
  }
  const set = /^info-set (\S+) ([\s\S]*)$/.exec(message)
  if (!set) return [false, 'Unknown command']
  const [, key, value] = set
  if (behave.setDisabled || (behave.secureSet && style !== 'vmtoolsd')) return [false, 'Permission denied']
  if (!key.startsWith('guestinfo.') || key.includes('/')) return [false, 'Permission denied']
  if (value === '') return [false, 'Too few arguments']
  const others = Object.entries(vm.values).filter(([name]) => name !== key)
  const total = others.reduce((sum, [name, { value: text }]) => sum + Buffer.byteLength(name + text), 0)
  if (total + Buffer.byteLength(key + value) > TOTAL_BYTES) return [false, 'Size limit exceeded']
  put(key, value)
  return [true, '']
}

const [style, ...args] = process.argv.slice(2)
if (style === 'power-cycle') {
  for (const [key, { volatile }] of Object.entries(vm.values)) if (volatile) delete vm.values[key]
  save()
} else if (style === 'host-set') {
  put(args[0], args[1])
  save()
} else {
  const message = style === 'vmtoolsd' ? args[1] : args[0]
  if (message === undefined || (style === 'vmtoolsd' && args[0] !== '--cmd')) {
    process.stderr.write('rpctool syntax:\n\n  rpctool <text>\n\n')
    process.exit(1)
  }
  const at = Date.now()
  if (behave.notInVm === 'crash') process.kill(process.pid, 'SIGSEGV')
  if (behave.hang) await sleep(60_000)
  if (behave.slowMs) await sleep(behave.slowMs)
  let [ok, text] = answer(style, message)
  if (behave.notInVm === 'message') [ok, text] = [false, 'Failed sending message to VMware.']
  if (behave.flood) [ok, text] = [true, 'x'.repeat(behave.flood)]
  if (behave.fail && (behave.failTimes ?? 1) > 0) {
    ;[ok, text] = [false, behave.fail]
    if (behave.failTimes) behave.failTimes--
    if (behave.failTimes === 0) delete behave.fail
  }
  if (style === 'vmtoolsd' && behave.denyNext > 0 && vm.calls.some((call) => call.style === 'vmtoolsd' && call.ok)) {
    behave.denyNext--
    ;[ok, text] = [false, 'Permission denied']
  }
  vm.calls.push({ style, message: message.split(' ', 2).join(' '), ok, at, end: Date.now() })
  save()
  if (behave.notInVm === 'vmtoolsd') {
    process.stderr.write('vmtoolsd: The vmsvc service needs to run inside a virtual machine.\n')
  } else {
    const stream = ok ? process.stdout : process.stderr
    stream.write(`${text}\n`, () => process.exit(ok ? 0 : 1))
  }
}
