import { expect, test } from 'vitest'
import { createLogger } from '../../src/app/index.ts'
import { formatLine } from '../../src/app/logger.ts'
import { LogLines } from './support.ts'

test('a line is JSON with level, time and message', () => {
  const logged = new LogLines()
  createLogger('info', logged).warn({ port: 'vm1' }, 'port offline')
  expect(logged.lines).toEqual([
    { level: 'warn', time: expect.stringMatching(/^\d{4}-.*Z$/), port: 'vm1', msg: 'port offline' },
  ])
})

test('what is named like a secret does not get into the log, even one level down', () => {
  const logged = new LogLines()
  const log = createLogger('trace', logged)
  log.info({ secret: 'hunter2', vmotion: { secret: 'hunter2' }, headers: { authorization: 'hunter2' } }, 'oops')
  log.child({ password: 'hunter2' }).info({}, 'oops')
  expect(JSON.stringify(logged.lines)).not.toContain('hunter2')
  expect(JSON.stringify(logged.lines)).toContain('[redacted]')
})

test('the level counts for children too, also when it changes after they were made', () => {
  const logged = new LogLines()
  const log = createLogger('warn', logged)
  const child = log.child({ part: 'x' })
  child.info({}, 'too quiet')
  log.setLevel('debug')
  child.debug({}, 'now heard')
  log.setLevel('silent')
  child.error({}, 'gone')
  expect(logged.lines.map(({ msg }) => msg)).toEqual(['now heard'])
  expect(logged.lines[0]).toMatchObject({ part: 'x', level: 'debug' })
})

test.each(['trace', 'debug', 'info', 'warn', 'error'] as const)('at level %s what is below is left out', (level) => {
  const logged = new LogLines()
  const log = createLogger(level, logged)
  const levels = ['trace', 'debug', 'info', 'warn', 'error'] as const
  for (const each of levels) log[each]({}, each)
  expect(logged.lines.map(({ msg }) => msg)).toEqual(levels.slice(levels.indexOf(level)))
})

test('for a terminal a line is plain, and a VM name can do nothing to it', () => {
  const logged = new LogLines()
  createLogger('info', logged).info({ vm: 'x\u001b]0;owned\u0007\n12:00 error faked', n: 3 }, 'port online')
  const line = formatLine(JSON.stringify(logged.lines[0]))
  expect(line).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}port online \(vm="x.*" n=3\)\n$/)
  expect(line.split('\n')).toHaveLength(2)
  expect(line).not.toContain('\u001b')
})
