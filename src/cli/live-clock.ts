/** Commands wait with timers that keep the process. */
export { liveClock } from '../base/index.ts'
