/** See fake-rpctool-vcsim.mjs. */
export class FakeEsx {
  constructor(options: { url: string; user: string; password: string; file?: string })
  static load(file: string): FakeEsx
  adopt(names: readonly string[]): Promise<void>
  rpc(name: string, message: string): Promise<[ok: boolean, text: string]>
  publish(name: string, key: string, value: string): Promise<void>
  publishAll(name: string, keys: Readonly<Record<string, string>>): Promise<void>
  powerOff(name: string): Promise<void>
  powerOn(name: string): Promise<void>
  inventory(): Promise<Record<string, Record<string, string>>>
  reconnect(url: string, known: Record<string, Record<string, string>>): Promise<void>
  close(): void
}
