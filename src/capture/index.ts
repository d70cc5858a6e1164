export type { CaptureDisk, CaptureFile } from './capture-writer.ts'
export { type CaptureLine, captureLines, type DescribeOptions, describeCapture, formatCaptureLine } from './describe.ts'
export { openCapture } from './file.ts'
export {
  CAPTURE_VERSION,
  Capture,
  type CaptureHeader,
  type CaptureOpen,
  type CaptureRecord,
  formatCaptureHeader,
  formatCaptureRecord,
} from './format.ts'
export { type CaptureRecorder, openRecorder, type RecorderOptions, type RecorderStats } from './recorder.ts'
export { type PlayMismatch, type PlayOptions, type PlaySummary, playCapture } from './replay.ts'
