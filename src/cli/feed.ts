/** Moved to src/client; here for log.ts until its imports are brought up to date. */
export { ConsoleFeed } from '../client/index.ts'
