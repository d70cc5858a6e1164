/**
 * A double of what ESXi hosts do between vmware-rpctool in their VMs and vCenter, for a vCenter that is the simulator:
 * info-get and info-set reach a simulated VM's extraConfig. Shares no code with ours.
 *
 * Enforced here, as the simulator knows nothing of it: keys with a slash are read-only to the guest, those without
 * `guestinfo.` hidden, 64 KiB a message, 1 MiB in all, no empty values; and keys that were made while the VM was on,
 * whoever made them, vanish when it is switched off. [doc] The words for the limits are made up.
 *
 * `file` keeps what a host knows and the simulator does not: which keys of which VM last. With it, and the VM's name in
 * FAKE_VCSIM_VM, fake-rpctool.mjs is the tool inside that VM (FAKE_VCSIM names the file).
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'

const MESSAGE_BYTES = 64 * 1024
const TOTAL_BYTES = 1024 * 1024

const escapeXml = (text) =>
  text.replace(/[&<>"\r]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#xD;' })[c])
const unescapeXml = (text) =>
  text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (_, hex, decimal, name) =>
    name
      ? { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }[name]
      : String.fromCodePoint(hex ? Number.parseInt(hex, 16) : Number(decimal)),
  )

/** All hosts of one simulator, and their VMs. */
export class FakeEsx {
  #url
  #user
  #password
  #cookie = ''
  #agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
  /** By VM name: { ref, lasting: keys that survive a power-off, on }. */
  #vms = {}
  #file

  constructor({ url, user, password, file }) {
    this.#url = url
    this.#user = user
    this.#password = password
    this.#file = file
  }

  /** As found in `file`: another process of the same hosts. */
  static load(file) {
    const { vms, ...access } = JSON.parse(readFileSync(file, 'utf8'))
    const esx = new FakeEsx({ ...access, file })
    esx.#vms = vms
    return esx
  }

  /** Takes these VMs, which are on: the keys that they have now last. */
  async adopt(names) {
    await this.#login()
    for (const name of names) {
      const ref = await this.#find(name)
      this.#vms[name] = { ref, lasting: Object.keys(await this.#keys(ref)), on: true }
    }
    this.#save()
  }

  /** The answer to a message of the tool in a VM: [ok, text]. */
  async rpc(name, message) {
    const { ref, on } = this.#vms[name]
    if (!on) throw new Error(`the double: ${name} is off, and nothing runs in it`)
    if (Buffer.byteLength(message) + 1 > MESSAGE_BYTES) return [false, 'Message too long']
    const get = /^info-get (\S+)$/.exec(message)
    if (get) {
      const value = get[1].startsWith('guestinfo.') ? (await this.#keys(ref))[get[1]] : undefined
      return value ? [true, value] : [false, 'No value found']
    }
    const set = /^info-set (\S+) ([\s\S]*)$/.exec(message)
    if (!set) return [false, 'Unknown command']
    const [, key, value] = set
    if (!key.startsWith('guestinfo.') || key.includes('/')) return [false, 'Permission denied']
    if (value === '') return [false, 'Too few arguments']
    const others = Object.entries(await this.#keys(ref)).filter(
      ([name]) => name.startsWith('guestinfo.') && name !== key,
    )
    const total = others.reduce((sum, [name, text]) => sum + Buffer.byteLength(name + text), 0)
    if (total + Buffer.byteLength(key + value) > TOTAL_BYTES) return [false, 'Size limit exceeded']
    await this.#change(ref, { [key]: value })
    return [true, '']
  }

  /** As if a tool had been called, and had to succeed. */
  async publish(name, key, value) {
    const [ok, text] = await this.rpc(name, `info-set ${key} ${value}`)
    if (!ok) throw new Error(`the double: ${text}`)
  }

  /** As if a tool had been called for each, and the host had told vCenter of all at once: for volume. */
  async publishAll(name, keys) {
    const { ref, on } = this.#vms[name]
    if (!on) throw new Error(`the double: ${name} is off, and nothing runs in it`)
    for (const [key, value] of Object.entries(keys)) {
      const fits = Buffer.byteLength(`info-set ${key} ${value}`) < MESSAGE_BYTES && value !== ''
      if (!fits || !key.startsWith('guestinfo.') || key.includes('/')) throw new Error(`the double: ${key} is refused`)
    }
    await this.#change(ref, keys)
  }

  /** Volatile keys vanish with the power. */
  async powerOff(name) {
    const vm = this.#vms[name]
    await this.#task(vm.ref, 'PowerOffVM_Task', '')
    vm.on = false
    const lost = Object.keys(await this.#keys(vm.ref)).filter(
      (key) => key.startsWith('guestinfo.') && !vm.lasting.includes(key),
    )
    if (lost.length > 0) await this.#change(vm.ref, Object.fromEntries(lost.map((key) => [key, ''])))
    this.#save()
  }

  /** The keys that are there now last from here on. */
  async powerOn(name) {
    const vm = this.#vms[name]
    vm.lasting = Object.keys(await this.#keys(vm.ref))
    await this.#task(vm.ref, 'PowerOnVM_Task', '')
    vm.on = true
    this.#save()
  }

  /** What the hosts tell a vCenter that comes back: all they know. The simulator forgets everything when it restarts. */
  async inventory() {
    const known = {}
    for (const [name, { ref }] of Object.entries(this.#vms)) known[name] = await this.#keys(ref)
    return known
  }

  async reconnect(url, known) {
    this.#url = url
    this.#agent.destroy()
    this.#agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
    await this.#login()
    for (const [name, vm] of Object.entries(this.#vms)) {
      vm.ref = await this.#find(name)
      const there = await this.#keys(vm.ref)
      const keys = Object.entries(known[name]).filter(([key, value]) => there[key] !== value)
      if (keys.length > 0) await this.#change(vm.ref, Object.fromEntries(keys))
      if (!vm.on) await this.#task(vm.ref, 'PowerOffVM_Task', '')
    }
    this.#save()
  }

  close() {
    this.#agent.destroy()
  }

  #save() {
    if (!this.#file) return
    const state = { url: this.#url, user: this.#user, password: this.#password, vms: this.#vms }
    writeFileSync(`${this.#file}.new`, JSON.stringify(state), { mode: 0o600 })
    renameSync(`${this.#file}.new`, this.#file)
  }

  async #login() {
    this.#cookie = ''
    await this.#call(
      'SessionManager',
      'SessionManager',
      'Login',
      `<userName>${escapeXml(this.#user)}</userName><password>${escapeXml(this.#password)}</password>`,
    )
  }

  async #find(name) {
    const path = `<inventoryPath>DC0/vm/${escapeXml(name)}</inventoryPath>`
    const answer = await this.#call('SearchIndex', 'SearchIndex', 'FindByInventoryPath', path)
    const ref = /<returnval[^>]*>([^<]+)<\/returnval>/.exec(answer)?.[1]
    if (!ref) throw new Error(`the double: no VM ${name}`)
    return ref
  }

  async #keys(ref) {
    const answer = await this.#property('VirtualMachine', ref, 'config.extraConfig')
    const keys = {}
    for (const [, key, value] of answer.matchAll(/<key>([^<]*)<\/key><value[^>]*>([^<]*)<\/value>/g)) {
      if (value !== '') keys[unescapeXml(key)] = unescapeXml(value)
    }
    return keys
  }

  #change(ref, keys) {
    const options = Object.entries(keys).map(
      ([key, value]) =>
        `<extraConfig xsi:type="OptionValue"><key>${escapeXml(key)}</key>` +
        `<value xsi:type="xsd:string">${escapeXml(value)}</value></extraConfig>`,
    )
    return this.#task(ref, 'ReconfigVM_Task', `<spec>${options.join('')}</spec>`)
  }

  async #task(ref, method, body) {
    const answer = await this.#call('VirtualMachine', ref, method, body)
    const task = /<returnval[^>]*>([^<]+)<\/returnval>/.exec(answer)?.[1]
    for (;;) {
      const state = await this.#property('Task', task, 'info.state')
      if (state.includes('>success<')) return
      if (state.includes('>error<')) throw new Error(`the double: ${method} failed`)
    }
  }

  #property(type, ref, path) {
    const body =
      `<specSet><propSet><type>${type}</type><pathSet>${path}</pathSet></propSet>` +
      `<objectSet><obj type="${type}">${ref}</obj></objectSet></specSet><options/>`
    return this.#call('PropertyCollector', 'propertyCollector', 'RetrievePropertiesEx', body)
  }

  async #call(type, ref, method, body) {
    if (this.#cookie === '' && method !== 'Login') await this.#login()
    const envelope =
      '<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ' +
      'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>' +
      `<${method} xmlns="urn:vim25"><_this type="${type}">${ref}</_this>${body}</${method}>` +
      '</soapenv:Body></soapenv:Envelope>'
    const { status, text, cookie } = await this.#post(envelope)
    if (cookie) this.#cookie = cookie
    if (status !== 200) throw new Error(`the double: ${method}: ${/<faultstring>([^<]*)/.exec(text)?.[1] ?? status}`)
    return text
  }

  #post(envelope) {
    return new Promise((resolve, reject) => {
      const headers = { 'Content-Type': 'text/xml', SOAPAction: 'urn:vim25/6.5' }
      if (this.#cookie) headers.Cookie = this.#cookie
      const call = request(this.#url, { method: 'POST', agent: this.#agent, headers }, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk) => {
          text += chunk
        })
        answer.on('end', () =>
          resolve({ status: answer.statusCode, text, cookie: answer.headers['set-cookie']?.[0]?.split(';')[0] }),
        )
        answer.on('error', reject)
      })
      call.on('error', reject)
      call.end(envelope)
    })
  }
}
