import type { Experiment } from '../experiment.ts'
import { soak } from '../soak/run.ts'

/** vMotions in every mode, half of them going wrong, with consoles that read and type: is every byte there once? */
export const loss: Experiment = {
  name: 'loss',
  contenders: ['ours'],
  maxRounds: 1,
  async run(bench) {
    const { program, serve, sizes } = bench
    const report = await soak(
      {
        program,
        serve,
        seconds: sizes.lossSeconds,
        vms: 300,
        mortal: 0,
        fast: 10,
        vmotionsPerSecond: 100,
        failing: 0.5,
        deathEveryMs: 1_000,
        consoles: 60,
        stuck: 0,
        allowGaps: true,
      },
      () => {},
    )
    for (const fault of report.faults.slice(0, 10)) bench.note(`loss: ${fault}`)
    return { faults: report.faults.length }
  },
  rows: [
    {
      work: 'bytes lost, doubled, reordered in vMotions',
      unit: '',
      reading: 'faults',
      digits: 0,
      target: { of: 'value', atMost: 0 },
    },
  ],
}
