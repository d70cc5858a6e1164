type LogMethod = (fields: object, message: string) => void

/** pino's call shape, `(fields, message)`; pino itself is only known to `app/`. Never pass secrets or console bytes. */
export interface Logger {
  trace: LogMethod
  debug: LogMethod
  info: LogMethod
  warn: LogMethod
  error: LogMethod
  child(bindings: object): Logger
}

const ignore: LogMethod = () => {}

export const silentLogger: Logger = {
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  child: () => silentLogger,
}
