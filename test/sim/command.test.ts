import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { registerSim } from '../../src/cli/sim.ts'
import { type DoubleBehaviour, ProxyDouble } from './proxy-double.ts'

let proxy: ProxyDouble | null = null

afterEach(async () => {
  vi.restoreAllMocks()
  await proxy?.close()
  proxy = null
})

interface Run {
  exitCode: number
  stdout: string
  stderr: string
}

async function sim(...args: string[]): Promise<Run> {
  const run: Run = { exitCode: 0, stdout: '', stderr: '' }
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    run.stdout += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    run.stderr += text
    return true
  })
  const program = new Command('vspc').exitOverride()
  registerSim(program)
  try {
    await program.parseAsync(['sim', ...args], { from: 'user' })
  } catch (error) {
    run.exitCode = exitCodeOf(error)
    run.stderr += (error as Error).message
  }
  return run
}

async function against(behaviour: DoubleBehaviour): Promise<string> {
  proxy = await ProxyDouble.listen(behaviour)
  return `tcp://127.0.0.1:${proxy.target.port}`
}

/** Sends SIGINT's event, not the signal, once the double has seen `count` of an event. */
async function interruptAfter(event: string, count: number): Promise<void> {
  await proxy?.until(({ events }) => events.filter((each) => each.startsWith(event)).length >= count)
  process.emit('SIGINT')
}

describe('vspc sim', () => {
  it('runs until Ctrl-C, then prints its summary as JSON and ends with 0', async () => {
    const target = await against({})
    const done = interruptAfter('complete', 5)
    const { exitCode, stdout } = await sim('--target', target, '--vms', '1', '--vmotions', '200', '--json')
    await done
    expect(exitCode).toBe(0)
    const summary = JSON.parse(stdout)
    expect(summary).toMatchObject({ vms: 1, hosts: 2, portsAttached: 1, lostInputBytes: 0, violations: 0 })
    expect(summary.vmotions.completed).toBeGreaterThanOrEqual(4)
    expect(summary.goaheadMs.p50).toBeGreaterThan(0)
  })

  it('the summary for people names vMotions that failed, and the exit code is 1', async () => {
    const target = await against({ begin: 'notnow' })
    const done = interruptAfter('begin', 3)
    const { exitCode, stdout, stderr } = await sim('--target', target, '--vms', '1', '--vmotions', '100')
    await done
    expect(exitCode).toBe(1)
    expect(stdout).toMatch(/^VMs +1 on 2 hosts\nports +1 of 1 attached/)
    expect(stdout).toMatch(/vMotions +0 completed, \d+ refused\n/)
    expect(stderr).toMatch(/vm-\d{4}: vMotion esx-0[12] to esx-0[12] refused: NOTNOW/)
  })

  it('--duration ends it', async () => {
    const target = await against({})
    expect(await sim('--target', target, '--vms', '1', '--duration', '0.2')).toMatchObject({ exitCode: 0 })
  })

  it('exit code 6 and a hint when there is no server', async () => {
    const target = await against({})
    await proxy?.close()
    proxy = null
    const { exitCode, stderr } = await sim('--target', target)
    expect(exitCode).toBe(6)
    expect(stderr).toMatch(/cannot connect to 127\.0\.0\.1:\d+.*ECONNREFUSED.*is 'vspc serve' running/)
  })

  it.each([
    [['--vms', '0'], '--vms: "0" is not a whole number from 1'],
    [['--vms', 'ten'], '"ten"'],
    [['--ports', '33'], 'from 1 to 32'],
    [['--vmotions', 'fast'], '"fast" is not a number of vMotions'],
    [['--guest', 'linux'], 'unknown guest "linux"; accepted: echo'],
    [['--target', 'localhost:1'], '"localhost:1" is not a URI'],
    [['--opening', 'shy'], 'Allowed choices are reactive'],
    [['--identity', 'shy'], 'Allowed choices are normal'],
    [['--split', 'at:0'], 'unknown split "at:0"; accepted: bytes, glue, at:N, every:N'],
    [['--duration', '5 s'], '--duration: "5 s" is not a duration'],
    [['--backend', 'pty:/x'], '"pty:/x" is not a URI'],
    [['--script', '/does/not/exist.yaml'], 'cannot read the script "/does/not/exist.yaml"'],
  ])('%j is a usage error that says what is wrong', async (args, message) => {
    const { exitCode, stderr } = await sim(...args)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(message)
  })

  it('a fault in a script is named by file and line', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vspc-sim-'))
    const file = join(directory, 'steps.yaml')
    writeFileSync(file, '# steps\n- { at: 1, vm: vm-0001, do: fly }\n')
    const { exitCode, stderr } = await sim('--script', file)
    rmSync(directory, { recursive: true })
    expect(exitCode).toBe(2)
    expect(stderr).toContain(`${file}:2: step 1: "do" is "fly"; expected one of migrate, abort`)
  })
})
