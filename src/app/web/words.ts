/** Numbers and times in few words. Pure. */
import type { PortInfo } from '../../vspc/index.ts'

export function portName({ id, vm, label }: Pick<PortInfo, 'id' | 'vm' | 'label'>): string {
  if (vm.name === '') return id
  return label === null ? vm.name : `${vm.name}/${label}`
}

/** Decimal, three digits. */
export function bytesInWords(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  let [value, unit] = [bytes, 0]
  while (value >= 999.5 && unit < 4) {
    value /= 1_000
    unit++
  }
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${['B', 'kB', 'MB', 'GB', 'TB'][unit]}`
}

/** How long ago, without a false exactness; "now" for the last few seconds. */
export function ageInWords(iso: string | null, now: number): string {
  if (iso === null) return ''
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1_000)
  if (seconds < 10) return 'now'
  if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`
}

/** Local time of day. */
export function clockTime(at: number | string): string {
  return new Date(at).toLocaleTimeString(undefined, { hour12: false })
}

/** The same, with the day where it is another one. */
export function dayAndTime(at: string, now: number): string {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return ''
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, '0'))
  return date.toDateString() === new Date(now).toDateString() ? clockTime(at) : `${day.join('-')} ${clockTime(at)}`
}
