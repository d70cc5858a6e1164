/** What `vspc doctor` prints. Pure. */
import { cleanText } from '../base/index.ts'
import { type Finding, type Level, SECTIONS, type Section } from './doctor-finding.ts'

const TITLES: Record<Section, string> = {
  machine: 'This machine',
  server: 'Server',
  vsphere: 'vSphere',
  vm: 'VM',
}
const MARKS: Record<Level, string> = { ok: 'ok  ', note: '--  ', warn: 'warn', fail: 'FAIL' }
const MAX_TEXT = 500

/** Without control characters: names, URIs and messages come from elsewhere. */
export function formatFindings(findings: readonly Finding[]): string[] {
  const width = Math.max(0, ...findings.map(({ id }) => id.length))
  return SECTIONS.flatMap((section) => {
    const here = findings.filter((finding) => finding.section === section)
    if (here.length === 0) return []
    return ['', TITLES[section], ...here.flatMap((finding) => lines(finding, width))]
  }).slice(1)
}

function lines({ level, id, about, message, next }: Finding, width: number): string[] {
  const what = about === null ? message : `${about}: ${message}`
  const first = `  ${MARKS[level]}  ${id.padEnd(width)}  ${cleanText(what, MAX_TEXT)}`
  return next === null ? [first] : [first, `        ${' '.repeat(width)}  -> ${cleanText(next, MAX_TEXT)}`]
}

export interface DoctorReport {
  /** Nothing fails. */
  readonly ok: boolean
  readonly counts: Readonly<Record<Level, number>>
  readonly findings: readonly (Finding & { readonly docs: string })[]
}

export function doctorReport(findings: readonly Finding[]): DoctorReport {
  const counts = { ok: 0, note: 0, warn: 0, fail: 0 }
  for (const { level } of findings) counts[level]++
  return {
    ok: counts.fail === 0,
    counts,
    findings: findings.map((finding) => ({ ...finding, docs: `docs/doctor.md#${finding.id}` })),
  }
}

export function summary({ counts: { warn, fail } }: DoctorReport): string {
  if (fail + warn === 0) return 'all is well'
  const parts = [...(fail > 0 ? [`${fail} failed`] : []), ...(warn > 0 ? [`${warn} to look at`] : [])]
  return `${parts.join(', ')}; docs/doctor.md explains each`
}
