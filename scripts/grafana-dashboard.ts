/**
 * packaging/grafana/vspc.json, a dashboard in Grafana's classic model. test/app/observability.test.ts keeps the file
 * equal to this and holds every metric and label in it against a server under load;
 * `npx vitest run test/app/observability.test.ts -u` writes it anew.
 */

// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own way of writing a variable
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
/** Of every selector. */
const SEL = 'job=~"$job",instance=~"$instance"'
const WIDTH = 24

type Unit = 'short' | 'bytes' | 'Bps' | 's' | 'percentunit' | 'ops' | 'bool_yes_no' | 'dtdurations' | 'none'

interface Query {
  readonly expr: string
  readonly legend: string
}

interface PanelSpec {
  readonly title: string
  /** What it means, and what to do when it is not as usual. */
  readonly about: string
  readonly unit: Unit
  readonly queries: readonly Query[]
  readonly kind?: 'timeseries' | 'stat' | 'table'
  readonly stacked?: true
  readonly width?: number
  readonly height?: number
  /** From here on it is yellow, red. */
  readonly limits?: readonly [warn: number, bad: number]
}

const query = (expr: string, legend: string): Query => ({ expr: expr.replaceAll('{}', `{${SEL}}`), legend })
const rate = (metric: string): string => `rate(${metric}[$__rate_interval])`
const quantile = (q: number, metric: string): string =>
  `histogram_quantile(${q}, sum by (le, instance) (${rate(`${metric}_bucket{}`)}))`

const stat = (title: string, about: string, expr: string, unit: Unit = 'short', more: Partial<PanelSpec> = {}) =>
  ({ title, about, unit, queries: [query(expr, '')], kind: 'stat', width: 3, height: 4, ...more }) as const

const ROWS: readonly (readonly [title: string, panels: readonly PanelSpec[]])[] = [
  [
    'Now',
    [
      stat('Ports online', 'Serial ports whose VM is connected.', 'sum(vspc_ports{SEL,state="online"})'),
      stat('Ports migrating', 'Between VMOTION-BEGIN and its end.', 'sum(vspc_ports{SEL,state="migrating"})'),
      stat('Ports offline', 'Known, and not connected now.', 'sum(vspc_ports{SEL,state="offline"})'),
      stat('Consoles', 'Attached now, in all modes.', 'sum(vspc_consoles{})'),
      stat(
        'VM connections',
        'Share of maxConnections that is in use.',
        'max(vspc_vm_connections{} / vspc_vm_connections_limit{})',
        'percentunit',
        { limits: [0.8, 0.95] },
      ),
      stat(
        'Open files',
        'Share of the limit of open files. Connections of VMs are refused a little before it is reached.',
        'max(process_open_fds{} / process_max_fds{})',
        'percentunit',
        { limits: [0.8, 0.95] },
      ),
      stat(
        'Certificate left',
        'Until the first certificate of a VM listener runs out.',
        'min(vspc_certificate_expiry_timestamp_seconds{}) - time()',
        'dtdurations',
      ),
      stat('Running since', 'Time since the last start.', 'time() - max(process_start_time_seconds{})', 'dtdurations'),
    ],
  ],
  [
    'VMs',
    [
      {
        title: 'Ports by state',
        about: 'Many that go offline at once: a host, or the way to it.',
        unit: 'short',
        stacked: true,
        queries: [query('sum by (state) (vspc_ports{})', '{{state}}')],
      },
      {
        title: 'Bytes',
        about: 'Console output from VMs, input to them, and what consoles were sent.',
        unit: 'Bps',
        queries: [
          query(`sum(${rate('vspc_vm_received_bytes_total{}')})`, 'from VMs'),
          query(`sum(${rate('vspc_vm_sent_bytes_total{}')})`, 'to VMs'),
          query(`sum(${rate('vspc_console_sent_bytes_total{}')})`, 'to consoles'),
        ],
      },
      {
        title: 'Refused, by reason',
        about: 'Connections that got no port. "vspc doctor" and GET /api/v1/health tell which peers, and what to do.',
        unit: 'ops',
        stacked: true,
        queries: [query(`sum by (reason) (${rate('vspc_vm_refusals_total{}')}) > 0`, '{{reason}}')],
      },
      {
        title: 'Connections',
        about: 'Accepted and ended. Both high at once: VMs that come and go again.',
        unit: 'ops',
        queries: [
          query(`sum(${rate('vspc_vm_connections_accepted_total{}')})`, 'accepted'),
          query(`sum(${rate('vspc_vm_connections_closed_total{}')})`, 'ended'),
          query(`sum(${rate('vspc_takeovers_total{}')})`, 'taken over'),
          query(`sum(${rate('vspc_dial_failures_total{}')})`, 'failed to dial'),
        ],
      },
    ],
  ],
  [
    'vMotion',
    [
      {
        title: 'vMotions, by result',
        about: 'implicit: it went well, but the host never said so. timed_out: look at the log of that port.',
        unit: 'ops',
        stacked: true,
        width: 8,
        queries: [query(`sum by (result) (${rate('vspc_vmotions_total{}')})`, '{{result}}')],
      },
      {
        title: 'Duration',
        about: 'From VMOTION-BEGIN to the end. Most of it is the copying of memory by vSphere.',
        unit: 's',
        width: 8,
        queries: [
          query(quantile(0.5, 'vspc_vmotion_duration_seconds'), 'p50 {{instance}}'),
          query(quantile(0.99, 'vspc_vmotion_duration_seconds'), 'p99 {{instance}}'),
        ],
      },
      {
        title: 'VMOTION-BEGIN to GOAHEAD',
        about: 'The VM is held for so long by us. The host gives up after 5 s.',
        unit: 's',
        width: 8,
        queries: [
          query(quantile(0.5, 'vspc_vmotion_goahead_seconds'), 'p50 {{instance}}'),
          query(quantile(0.99, 'vspc_vmotion_goahead_seconds'), 'p99 {{instance}}'),
        ],
      },
    ],
  ],
  [
    'Consoles',
    [
      {
        title: 'Attached, by mode',
        about: 'Over WebSocket and Telnet.',
        unit: 'short',
        stacked: true,
        width: 8,
        queries: [query('sum by (mode) (vspc_consoles{})', '{{mode}}')],
      },
      {
        title: 'Attached and refused',
        about: 'Refused: somebody writes exclusively, or maxConsolesPerPort.',
        unit: 'ops',
        width: 8,
        queries: [
          query(`sum(${rate('vspc_consoles_attached_total{}')})`, 'attached'),
          query(`sum(${rate('vspc_consoles_refused_total{}')})`, 'refused'),
        ],
      },
      {
        title: 'Missed by consoles',
        about: 'Output that was gone from history before a slow console had read it.',
        unit: 'Bps',
        width: 8,
        queries: [query(`sum(${rate('vspc_console_gap_bytes_total{}')})`, 'missed')],
      },
    ],
  ],
  [
    'History',
    [
      {
        title: 'On disk',
        about: 'What history takes, what it may take, and what is free where it is. Limit 0: as much as there is room.',
        unit: 'bytes',
        queries: [
          query('vspc_history_disk_bytes{}', 'taken {{instance}}'),
          query('vspc_history_limit_bytes{}', 'limit {{instance}}'),
          query('vspc_history_disk_free_bytes{}', 'free {{instance}}'),
        ],
      },
      {
        title: 'Not yet on disk',
        about: 'Grows while the disk does not keep up; beyond the limits output is lost to history.',
        unit: 'bytes',
        queries: [
          query('vspc_history_pending_bytes{}', 'waiting {{instance}}'),
          query('vspc_history_tail_bytes{}', 'kept for consoles {{instance}}'),
        ],
      },
      {
        title: 'Written, lost, shown before it was safe',
        about:
          'Lost: gaps in history. Shown before it was safe: the disk was late, kill -9 just then would have lost it.',
        unit: 'Bps',
        queries: [
          query(`sum(${rate('vspc_history_written_bytes_total{}')})`, 'written'),
          query(`sum(${rate('vspc_history_dropped_bytes_total{}')})`, 'lost'),
          query(`sum(${rate('vspc_history_undurable_bytes_total{}')})`, 'shown before it was safe'),
          query(`sum(${rate('vspc_history_expired_bytes_total{}')})`, 'deleted to make room'),
        ],
      },
      {
        title: 'Troubles',
        about: 'Ports whose writes fail or are late, and errors of the disk: the log names path and error.',
        unit: 'short',
        queries: [
          query('vspc_history_troubled_ports{}', 'ports in trouble {{instance}}'),
          query(`sum(${rate('vspc_history_disk_errors_total{}')})`, 'disk errors/s'),
          query(`sum(${rate('vspc_history_load_errors_total{}')})`, 'read errors/s'),
        ],
      },
    ],
  ],
  [
    'Process',
    [
      {
        title: 'Event loop: how late',
        about: 'What every VM and console waits for.',
        unit: 's',
        width: 8,
        queries: [
          query(quantile(0.5, 'vspc_event_loop_delay_seconds'), 'p50 {{instance}}'),
          query(quantile(0.99, 'vspc_event_loop_delay_seconds'), 'p99 {{instance}}'),
          query('vspc_event_loop_delay_recent_max_seconds{}', 'longest {{instance}}'),
        ],
      },
      {
        title: 'Busy',
        about: 'Of one core each: the event loop, and all of the process. At 1 the server is full.',
        unit: 'percentunit',
        width: 8,
        queries: [
          query(rate('vspc_event_loop_busy_seconds_total{}'), 'event loop {{instance}}'),
          query(rate('process_cpu_seconds_total{}'), 'CPU {{instance}}'),
        ],
      },
      {
        title: 'Memory',
        about: 'Resident, and what JavaScript and buffers take of it.',
        unit: 'bytes',
        width: 8,
        queries: [
          query('process_resident_memory_bytes{}', 'resident {{instance}}'),
          query('nodejs_heap_size_used_bytes{}', 'heap {{instance}}'),
          query('nodejs_external_memory_bytes{}', 'buffers {{instance}}'),
        ],
      },
      {
        title: 'Open files',
        about: 'One for each connection, some for history.',
        unit: 'short',
        width: 8,
        queries: [query('process_open_fds{}', 'open {{instance}}'), query('process_max_fds{}', 'limit {{instance}}')],
      },
      {
        title: 'Log lines, by level',
        about: 'And those that are missing: the same too often, or a reader that did not keep up.',
        unit: 'ops',
        width: 8,
        queries: [
          query(`sum by (level) (${rate('vspc_log_lines_total{}')})`, '{{level}}'),
          query(`sum by (reason) (${rate('vspc_log_lines_missing_total{}')})`, 'missing: {{reason}}'),
        ],
      },
      {
        title: 'Faults',
        about: 'Faults of this program: please report them. Jumps of the clock: see NTP, or a VM that was suspended.',
        unit: 'ops',
        width: 8,
        queries: [
          query(`sum(${rate('vspc_internal_errors_total{}')})`, 'internal errors'),
          query(`sum(${rate('vspc_clock_jumps_total{}')})`, 'clock jumps'),
          query(`sum(${rate('vspc_listener_problems_total{}')})`, 'listener problems'),
          query(`sum(${rate('vspc_tls_failures_total{}')})`, 'TLS failures'),
        ],
      },
    ],
  ],
  [
    'Alerts in the output of VMs',
    [
      {
        title: 'Told, by rule',
        about: 'Panics, oom-kills, I/O errors and what you look for yourself; GET /api/v1/events says in which VM.',
        unit: 'short',
        queries: [query('sum by (rule) (increase(vspc_alerts_total{}[$__rate_interval])) > 0', '{{rule}}')],
      },
      {
        title: 'Looked at, and not',
        about: 'Output held against the rules. Skipped: they were behind. Suppressed: too many of them.',
        unit: 'Bps',
        queries: [
          query(`sum(${rate('vspc_alerts_looked_at_bytes_total{}')})`, 'looked at'),
          query(`sum(${rate('vspc_alerts_skipped_bytes_total{}')})`, 'skipped'),
          query(`sum(${rate('vspc_alerts_suppressed_total{}')})`, 'suppressed alerts/s'),
          query(`sum(${rate('vspc_alerts_failures_total{}')})`, 'failures of the thread/s'),
        ],
      },
      {
        title: 'Events for hooks',
        about: 'By hook, and what became of them; waiting ones are tried again.',
        unit: 'short',
        queries: [
          query(
            'sum by (hook, result) (increase(vspc_hook_events_total{}[$__rate_interval])) > 0',
            '{{hook}}: {{result}}',
          ),
          query('sum by (hook) (vspc_hook_waiting_events{})', '{{hook}}: waiting'),
        ],
      },
    ],
  ],
  [
    'Access (where it is configured)',
    [
      {
        title: 'Failures',
        about:
          'Tokens, tickets and certificates that do not count; refused: no rule allows it. The audit log names who.',
        unit: 'ops',
        queries: [
          query(`sum(${rate('vspc_access_failures_total{}')})`, 'failed'),
          query(`sum(${rate('vspc_access_limited_total{}')})`, 'of these, too often'),
          query(`sum(${rate('vspc_access_refused_total{}')})`, 'not allowed'),
          query(`sum(${rate('vspc_access_revoked_total{}')})`, 'ended: the right had ended'),
        ],
      },
      {
        title: 'Attended, and lost lines of the audit log',
        about: 'Consoles and streams whose rights are looked at again; lines that never got to the audit log.',
        unit: 'short',
        queries: [
          query('vspc_access_attended{}', 'attended {{instance}}'),
          query('increase(vspc_audit_dropped_total{}[$__rate_interval])', 'lost lines {{instance}}'),
        ],
      },
    ],
  ],
  [
    'Appliance (where it is followed)',
    [
      {
        title: 'Host',
        about: 'ESXi host that the appliance runs on.',
        unit: 'none',
        kind: 'table',
        width: 8,
        queries: [query('vspc_appliance_host_info{} == 1', '')],
      },
      {
        title: 'Moves and changes',
        about: 'Moves of the appliance, and VMs re-pointed because of them.',
        unit: 'short',
        width: 8,
        queries: [
          query('increase(vspc_appliance_moves_total{}[$__rate_interval])', 'moves'),
          query('increase(vspc_repoint_changes_total{}[$__rate_interval])', 'VMs re-pointed'),
          query('increase(vspc_repoint_failures_total{}[$__rate_interval])', 'failures'),
        ],
      },
      {
        title: 'VMs, by state',
        about: 'stuck: somebody has to look; GET /api/v1/appliance says why.',
        unit: 'short',
        width: 8,
        stacked: true,
        queries: [
          query('sum by (state) (vspc_repoint_vms{})', '{{state}}'),
          query('vspc_next_hops_open{}', 'peer relays that have not heard'),
        ],
      },
      stat('vCenter reachable', 'It answers, and lets us in.', 'min(vspc_vcenter_reachable{})', 'bool_yes_no', {
        width: 12,
      }),
      stat('In trouble', 'Following it meets with trouble.', 'max(vspc_appliance_trouble{})', 'bool_yes_no', {
        width: 12,
      }),
    ],
  ],
  [
    'Guestinfo (where it is followed)',
    [
      {
        title: 'What VMs published, by type',
        about: 'Addresses, errors, ends of processes.',
        unit: 'ops',
        width: 12,
        queries: [query(`sum by (type) (${rate('vspc_guestinfo_results_total{}')})`, '{{type}}')],
      },
      {
        title: 'VMs and results',
        about: 'Unreadable: the user may not read their keys. Waiting: results that are not on disk yet.',
        unit: 'short',
        width: 12,
        queries: [
          query('vspc_guestinfo_vms{}', 'VMs followed'),
          query('vspc_guestinfo_unreadable_vms{}', 'unreadable'),
          query('vspc_guestinfo_unwritten_results{}', 'results waiting'),
          query('1 - vspc_guestinfo_following{}', 'not following'),
          query('vspc_guestinfo_store_trouble{}', 'disk trouble'),
        ],
      },
    ],
  ],
]

/** `vspc_ports{SEL,state="online"}`: with more than the usual labels. */
function selected(expr: string): string {
  return expr.replaceAll('{SEL,', `{${SEL},`)
}

function panelOf(spec: PanelSpec, id: number, gridPos: object): object {
  const { title, about, unit, queries, kind = 'timeseries', stacked, limits } = spec
  const steps = [
    { color: 'green', value: null },
    ...(limits === undefined ? [] : [{ color: 'yellow', value: limits[0] }]),
    ...(limits === undefined ? [] : [{ color: 'red', value: limits[1] }]),
  ]
  return {
    id,
    type: kind,
    title,
    description: about,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit,
        ...(kind === 'timeseries' ? { min: 0, custom: timeseriesStyle(stacked === true) } : {}),
        thresholds: { mode: 'absolute', steps },
        color: { mode: kind === 'timeseries' ? 'palette-classic' : 'thresholds' },
      },
      overrides: [],
    },
    options: optionsOf(kind),
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      editorMode: 'code',
      expr: selected(expr),
      legendFormat: legend,
      range: kind === 'timeseries',
      instant: kind !== 'timeseries',
      ...(kind === 'table' ? { format: 'table' } : {}),
    })),
  }
}

function timeseriesStyle(isStacked: boolean): object {
  return {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: isStacked ? 30 : 10,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: isStacked ? 'normal' : 'none', group: 'A' },
  }
}

function optionsOf(kind: 'timeseries' | 'stat' | 'table'): object {
  if (kind === 'table') return { showHeader: true }
  if (kind === 'stat') {
    return {
      colorMode: 'value',
      graphMode: 'none',
      textMode: 'auto',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    }
  }
  return {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  }
}

function panels(): object[] {
  const all: object[] = []
  let y = 0
  for (const [title, specs] of ROWS) {
    all.push({
      id: all.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: WIDTH, h: 1 },
      panels: [],
    })
    y++
    let x = 0
    let lineHeight = 0
    for (const spec of specs) {
      const { width: w = 12, height: h = 8 } = spec
      if (x + w > WIDTH) {
        x = 0
        y += lineHeight
        lineHeight = 0
      }
      all.push(panelOf(spec, all.length + 1, { x, y, w, h }))
      x += w
      lineHeight = Math.max(lineHeight, h)
    }
    y += lineHeight
  }
  return all
}

function variable(name: string, label: string, expr: string): object {
  return {
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query: { query: expr, refId: name },
    definition: expr,
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: '.+',
    current: { text: ['All'], value: ['$__all'] },
  }
}

/** As it stands in the file. */
export function grafanaDashboard(): string {
  const dashboard = {
    title: 'vspc',
    description: 'Virtual serial port concentrator: VMs, vMotions, consoles, history, and the server itself.',
    tags: ['vspc', 'vmware'],
    // Of Grafana 13; older ones read it as well.
    schemaVersion: 42,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    timezone: '',
    annotations: { list: [] },
    links: [],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1 },
        variable('job', 'Job', 'label_values(vspc_build_info, job)'),
        variable('instance', 'Instance', 'label_values(vspc_build_info{job=~"$job"}, instance)'),
      ],
    },
    panels: panels(),
  }
  return `${JSON.stringify(dashboard, null, 2)}\n`
}
