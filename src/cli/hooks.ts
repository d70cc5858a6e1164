import type { Command } from 'commander'
import { createLogger, loadConfig, productVersion, testHook } from '../app/index.ts'
import { systemClock, VspcError } from '../base/index.ts'
import { printData } from './output.ts'
import { stayAlive } from './signals.ts'

const HELP = `
Example:
  vspc hooks test pager --config /etc/vspc.yaml
`

const TEST_HELP = `
Gives the hook one made-up alert (rule "hook-test"), from this machine, as this user, and tells how it went. It is
tried once. No server is needed; one that runs is not asked. Exit code 1 when it was not delivered.

Examples:
  vspc hooks test pager --config /etc/vspc.yaml
  sudo -u vspc vspc hooks test pager --config /etc/vspc.yaml      as the server does it
`

export function registerHooks(program: Command): void {
  const hooks = program
    .command('hooks')
    .description('Try the webhooks and programs that are told of events')
    .addHelpText('after', HELP)
  hooks
    .command('test')
    .description('Give a hook of the configuration a made-up alert')
    .argument('<name>', 'of the hook')
    .option('--config <file>', 'configuration file, YAML (env VSPC_CONFIG)')
    .addHelpText('after', TEST_HELP)
    .action(test)
}

async function test(name: string, flags: { config?: string }): Promise<void> {
  const config = loadConfig({
    env: process.env,
    flags: {},
    ...(flags.config === undefined ? {} : { file: flags.config }),
  })
  if (config.file === null)
    throw new VspcError('VSPC_USAGE', 'there are no hooks; name a file with --config, or set VSPC_CONFIG')
  const alive = stayAlive()
  try {
    const log = createLogger('silent', 'text')
    const { kind, detail } = await testHook(config, name, { clock: systemClock, log, version: productVersion() })
    if (kind !== 'delivered') {
      const later = kind === 'retry' ? ' (the server would try again)' : ''
      throw new VspcError('VSPC_HOOK_FAILED', `hook "${name}": not delivered: ${detail}${later}`)
    }
    printData(`${name}: delivered: ${detail}\n`)
  } finally {
    alive.end()
  }
}
