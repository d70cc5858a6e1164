/** What stands below the options of `vspc track --help`. */
export const TRACK_HELP = `
Follows the ESXi host that the appliance's VM runs on, and points the serial
ports of the VMs at the relay there. Each port is disconnected, given its new
proxyURI and connected again; of a port nothing else changes. Runs until
SIGTERM; with --once it brings all into line and ends; with --plan it only
prints what would change.

TEMPLATE and the endpoints of --next-hop may contain
  {host}   the name of the host in the inventory
  {ip}     the first address of its management interface
  {relay}  what --relays, a YAML file of HOST: ADDRESS, says for it

--vms takes patterns of names (* and ?), and
  folder:/DC/vm/prod   pool:/DC/host/cluster/Resources/prod
  attribute:NAME=PATTERN   vm:NAME, inventory path or UUID
Of a VM every port with a proxyURI is meant, or those that --port names. The
appliance itself is left out.

--next-hop tells a peer relay, before VMs are re-pointed, where its next hop
leads to now: CONTROL#NAME=ENDPOINT, with the relay's control endpoint, the
name of the next hop there, and the endpoint to dial (its files are those of
the relay's machine).

All of it may stand in the sections vsphere and track of --config, the file of
vspc serve, which then does the same by itself; flags count more. So
  vspc track --config /etc/vspc.yaml --plan
shows what the server would change.

Changes are printed on stdout, with --json one line of JSON for each event;
everything else goes to stderr. The user needs System.View and System.Read,
VirtualMachine.Config.EditDevice and VirtualMachine.Interact.DeviceConnection.

Exit codes: 1 some could not be re-pointed, 2 usage, 3 no such VM, 4 not
allowed, 6 server unreachable, 124 --timeout is over, 130 --once or --plan was
interrupted. Following ends with 0 at SIGINT and SIGTERM, once what was begun is done.

Examples:
  What would change:
    vspc track --vsphere https://vc/sdk --user vspc@vsphere.local \\
      --password-file pw --pin sha256:HEX --appliance vspc1 --vms 'web*' \\
      --proxy-uri 'telnet://{host}:13370' --plan
  From now on, settings of the API from the environment:
    vspc track --appliance vspc1 --vms folder:/DC/vm/prod \\
      --proxy-uri 'telnet://{ip}:13370'
  With peer relays:
    vspc track --appliance vspc1 --vms '*' --proxy-uri 'telnet://{host}:13370' \\
      --next-hop 'unix:///run/r.sock#appliance=tls://{host}:13371?resume=on'
`
