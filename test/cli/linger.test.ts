import { expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { Linger } from '../../src/cli/linger.ts'

function start(ms: number) {
  const clock = new ManualClock()
  const vm = { here: true, ended: null as boolean | null }
  const linger = new Linger(ms, clock, {
    canAnswer: () => vm.here,
    unsentBytes: () => 0,
    done: (wasQuiet) => {
      vm.ended = wasQuiet
    },
  })
  const move = (here: boolean) => {
    vm.here = here
    linger.stateChanged()
  }
  return { clock, vm, linger, move }
}

test('a VM that is moved every second does not keep a script waiting: its time here adds up', () => {
  const { clock, vm, linger, move } = start(1_000)
  linger.begin()
  clock.advance(900)
  move(false)
  clock.advance(5_000)
  move(true)
  clock.advance(99)
  expect(vm.ended).toBe(null)
  clock.advance(1)
  expect(vm.ended).toBe(true)
  expect(clock.pending).toBe(0)
})

test('output after a move starts the quiet anew, also when it comes before the news of the arrival', () => {
  const { clock, vm, linger, move } = start(1_000)
  linger.begin()
  clock.advance(900)
  move(false)
  clock.advance(300)
  linger.touch()
  clock.advance(50)
  move(true)
  clock.advance(999)
  expect(vm.ended).toBe(null)
  clock.advance(1)
  expect(vm.ended).toBe(true)
})

test('a VM that is back without word of it is waited for no longer than the quiet', () => {
  const { clock, vm, linger, move } = start(1_000)
  linger.begin()
  move(false)
  clock.advance(3_000)
  vm.here = true
  clock.advance(2_000)
  expect(vm.ended).toBe(true)
})
