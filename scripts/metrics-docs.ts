/**
 * The tables of docs/metrics.md, from metrics as they are read. test/app/observability.test.ts keeps the page equal to
 * this; `npx vitest run test/app/observability.test.ts -u` writes it anew.
 */

export interface MetricRow {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly labels: readonly string[]
}

const SECTIONS: readonly (readonly [title: string, about: string, fits: RegExp])[] = [
  [
    'Single ports',
    'Only where the limit `maxMetricPorts` allows some: a site has thousands of VMs, and each is five series. The ports that\n' +
      'are known longest have theirs, so that series do not come and go; `vspc_ports_without_metrics` counts the rest. `port`\n' +
      'is the id, `vm` the name.',
    /^vspc_port(?:_|s_without)/,
  ],
  [
    'VMs and their connections',
    '',
    /^vspc_(?:ports|vm_|negotiation|not_vmware|wont|takeovers|dial|telnet_anom|suboption|unknown|pre_attach|listener|tls|certificate)/,
  ],
  ['vMotion', '', /^vspc_vmotion/],
  ['Consoles', '', /^vspc_console/],
  ['Telnet for people', 'Only with `telnet` configured.', /^vspc_telnet_/],
  ['Programs', 'Ports joined to programs, see [forward.md](forward.md).', /^vspc_forward/],
  ['History', '', /^vspc_history/],
  [
    'The appliance',
    'Only with `track` configured, see [tracking.md](tracking.md).',
    /^vspc_(?:appliance|vcenter|repoint|next_hops)/,
  ],
  ['Guestinfo', 'Only with `guestinfo` configured, see [guestinfo.md](guestinfo.md).', /^vspc_guestinfo/],
  ['Access', 'Only with `access` configured, see [access.md](access.md).', /^vspc_(?:access|audit)/],
  ['Alerts', 'What the rules of `alerts` find in the output of VMs, see [alerts.md](alerts.md).', /^vspc_alerts/],
  ['Hooks', 'Only with `hooks` configured, see [hooks.md](hooks.md).', /^vspc_hook/],
  ['The process', '', /^(?:process_|nodejs_|vspc_(?:build|event_loop|clock|log|internal))/],
  ['Others', '', /./],
]

const HEAD = `<!-- Made by scripts/metrics-docs.ts from what a server tells; do not edit. -->
# Metrics

\`GET /metrics\` tells them in the text format of Prometheus. Names, units and \`_total\` are as Prometheus' conventions ask;
nothing has a label per VM unless that is asked for. Everything is read when it is asked for: several Prometheus servers do
not disturb each other.

\`\`\`yaml
# prometheus.yml
rule_files: [vspc-rules.yaml]                     # packaging/prometheus
scrape_configs:
  - job_name: vspc
    static_configs: [{ targets: ['127.0.0.1:13371'] }]
\`\`\`

- [packaging/prometheus/vspc-rules.yaml](../packaging/prometheus/vspc-rules.yaml): alerts, each with what to do.
- [packaging/grafana/vspc.json](../packaging/grafana/vspc.json): a dashboard. In Grafana: Dashboards, New, Import.

Metrics tell how much; \`GET /api/v1/health\` and \`vspc doctor\` tell which and why.
`

export function metricsDocs(rows: readonly MetricRow[]): string {
  const left = new Set(rows)
  const parts = SECTIONS.flatMap(([title, about, fits]) => {
    const here = [...left].filter(({ name }) => fits.test(name))
    for (const row of here) left.delete(row)
    if (here.length === 0) return []
    const table = here.map(
      ({ name, type, labels, help }) =>
        `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
    )
    return [
      `\n## ${title}\n${about === '' ? '' : `\n${about}\n`}`,
      `| Metric | Type | Labels | Means |\n|---|---|---|---|\n${table.join('\n')}\n`,
    ]
  })
  return [HEAD, ...parts].join('\n').replaceAll('\n\n\n', '\n\n')
}
