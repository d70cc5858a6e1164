/** Moved to src/client; here for log.ts until its imports are brought up to date. */
export { chunksOf, type HistoryStream, openHistory } from '../client/index.ts'
