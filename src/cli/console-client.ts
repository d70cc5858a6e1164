/** Moved to src/client; here for log.ts until its imports are brought up to date. */
export { type OpenConsole, webSocketConsoles } from '../client/index.ts'
