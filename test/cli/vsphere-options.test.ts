/** Where the settings of the vSphere API come from, for every command that speaks to it. */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { passwordFileWarning, resolveVsphere } from '../../src/cli/vsphere-options.ts'
import { temporaryFolder } from '../relay/support.ts'

test('flag before variable before file; a file is relative to where it is named; a secret file has to be secret', () => {
  const folder = temporaryFolder()
  const password = join(folder, 'pw')
  writeFileSync(password, 'x')
  const pem = join(folder, 'ca.pem')
  writeFileSync(pem, 'x')
  const config = join(folder, 'vspc.yaml')
  writeFileSync(
    config,
    'listen: [nonsense]\nvsphere:\n  url: https://file/sdk\n  user: file\n  passwordFile: pw\n  caFile: ca.pem\n',
  )
  const env = { VSPC_CONFIG: config, VSPC_VSPHERE_USER: 'variable', VSPC_VSPHERE_DIAL: '' }
  const fromFile = resolveVsphere({}, env)
  expect(fromFile).toEqual({
    url: 'https://file/sdk',
    user: 'variable',
    passwordFile: password,
    ca: pem,
    pin: null,
    dial: null,
  })
  const pin = 'AB:'.repeat(32).slice(0, -1)
  const dial = 'vsock://2:8443'
  const flags = { vsphere: 'https://flag/sdk', user: 'flag', pin: `sha256:${pin}`, dial }
  // A pin means no CA of a layer below.
  expect(resolveVsphere(flags, env)).toMatchObject({
    url: 'https://flag/sdk',
    user: 'flag',
    ca: null,
    pin: 'ab'.repeat(32),
    dial: { scheme: 'vsock' },
  })
  chmodSync(password, 0o644)
  expect(passwordFileWarning(fromFile)).toContain('chmod 600')
  chmodSync(password, 0o640)
  expect(passwordFileWarning(fromFile)).toBeNull()
})

test("systemd's credential is the password file unless another one is named", () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'vsphere-password'), 'x')
  const flags = { vsphere: 'https://vc/sdk', user: 'u' }
  const env = { CREDENTIALS_DIRECTORY: folder }
  expect(resolveVsphere(flags, env).passwordFile).toBe(join(folder, 'vsphere-password'))
  writeFileSync(join(folder, 'other'), 'x')
  expect(resolveVsphere({ ...flags, passwordFile: 'other' }, env, folder).passwordFile).toBe(join(folder, 'other'))
  expect(() => resolveVsphere(flags, { CREDENTIALS_DIRECTORY: join(folder, 'none') })).toThrow('--password-file')
})

test('all mistakes of the settings at once; a password in the URL is not repeated', () => {
  const flags = { vsphere: 'https://u:secret@vc/sdk', user: 'u', pin: 'sha1:1', dial: 'tcp://nowhere', ca: '/none.pem' }
  const told = (() => {
    try {
      resolveVsphere(flags, {})
      return ''
    } catch (error) {
      return (error as Error).message
    }
  })()
  expect(told.split('\n').map((line) => line.replace(/:.*$/, ''))).toEqual(['--vsphere', '--ca', '--pin', '--dial'])
  expect(told).not.toContain('secret')
})
