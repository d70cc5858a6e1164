import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const FAKE = fileURLToPath(new URL('../support/fake-rpctool.mjs', import.meta.url))

interface FakeCall {
  readonly style: string
  /** Without the value. */
  readonly message: string
  readonly ok: boolean
  readonly at: number
  readonly end: number
}

/** A VM for fake-rpctool.mjs, and a folder with the tools in it. */
export class FakeVm {
  readonly folder = mkdtempSync(join(tmpdir(), 'vspc-guest-'))
  readonly bin = join(this.folder, 'bin')
  readonly #file = join(this.folder, 'vm.json')

  /** @param values what was configured before the VM was switched on. @param tools which ones there are. */
  constructor(
    values: Record<string, string> = {},
    behave: Record<string, unknown> = {},
    tools: readonly string[] = ['vmware-rpctool', 'vmtoolsd'],
  ) {
    onTestFinished(() => rmSync(this.folder, { recursive: true }))
    const persistent = Object.entries(values).map(([key, value]) => [key, { value, volatile: false }])
    writeFileSync(this.#file, JSON.stringify({ values: Object.fromEntries(persistent), behave }))
    mkdirSync(this.bin)
    for (const tool of tools) this.addTool(tool)
  }

  addTool(tool: string): void {
    const style = tool.replace('vmware-', '')
    writeFileSync(join(this.bin, tool), `#!/bin/sh\nexec '${process.execPath}' '${FAKE}' ${style} "$@"\n`)
    chmodSync(join(this.bin, tool), 0o755)
  }

  /** Only these tools are on the PATH. */
  get env(): Record<string, string> {
    return { PATH: this.bin, FAKE_VM: this.#file }
  }

  get values(): Record<string, string> {
    const entries = Object.entries(this.#read().values as Record<string, { value: string }>)
    return Object.fromEntries(entries.map(([key, { value }]) => [key, value]))
  }

  get calls(): readonly FakeCall[] {
    return this.#read().calls ?? []
  }

  behave(change: Record<string, unknown>): void {
    const vm = this.#read()
    writeFileSync(this.#file, JSON.stringify({ ...vm, behave: { ...vm.behave, ...change } }))
  }

  hostSet(key: string, value: string): void {
    this.#act('host-set', key, value)
  }

  powerCycle(): void {
    this.#act('power-cycle')
  }

  #act(...args: string[]): void {
    execFileSync(process.execPath, [FAKE, ...args], { env: this.env })
  }

  #read() {
    return JSON.parse(readFileSync(this.#file, 'utf8'))
  }
}
