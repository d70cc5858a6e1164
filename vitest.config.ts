import { defineConfig } from 'vitest/config'
import { ClosingLineReporter } from './test/support/closing-line.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', new ClosingLineReporter()],
    globalSetup: ['test/support/build.ts'],
    // A busy CI machine is no reason to fail.
    testTimeout: process.env['CI'] ? 60_000 : 20_000,
    hookTimeout: process.env['CI'] ? 60_000 : 30_000,
    // Two cores: more workers only make socket tests wait for each other.
    maxWorkers: 2,
    // Real processes, kernels and disks on a machine that others use too: what passes at the second attempt is listed as
    // UNSTEADY at the end. At a developer's desk nothing is repeated.
    retry: process.env['CI'] ? 1 : 0,
  },
})
