export { MAX_TEXT } from './records.ts'
export { type RunningSearch, type SearchEnd, Searches, type SearchNews, type SearchSource } from './searches.ts'
export type { Piece, SearchedPort, SearchQuery, SearchTotals } from './types.ts'
