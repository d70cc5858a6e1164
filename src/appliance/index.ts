/** What `vspc serve` and the commands share of the appliance's work with vSphere. */
export { connectVsphere, passwordFileWarning, type VsphereAccess } from './access.ts'
export {
  GUESTINFO_SCHEMA,
  type GuestinfoConfig,
  type GuestinfoSettings,
  guestinfoPlace,
  guestinfoSettings,
  readGuestinfoSection,
} from './guestinfo-settings.ts'
export { NextHops } from './next-hops.ts'
export { ownSerial } from './own-vm.ts'
export { readRelays } from './relay-table.ts'
export {
  readTrackSection,
  TRACK_SCHEMA,
  type TrackConfig,
  type TrackSettings,
  trackingPlan,
  trackSettings,
} from './track-settings.ts'
export { Tracking } from './tracking.ts'
export type {
  PlanReport,
  TrackedVmInfo,
  TrackingEvent,
  TrackingOptions,
  TrackingPlan,
  TrackingStatus,
} from './tracking-types.ts'
export type { Trouble, TroubleSource } from './troubles.ts'
export {
  type AccessDraft,
  accessSettings,
  GivenAccess,
  missingSetting,
  VSPHERE_SCHEMA,
  VSPHERE_VARIABLES,
  type VsphereSettingName,
  type VsphereSettings,
} from './vsphere-settings.ts'
