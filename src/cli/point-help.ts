/** What stands below the options of `vspc point --help`. */
export const POINT_HELP = `
Gives VMs a serial port that leads to the concentrator, or changes the one they
have. Of each VM it takes the port that has the --label already, else the first
network port without a label, else a new one; or the one that --port names.
A connected port is disconnected, changed, and connected again. What is right
already is left alone, so the same line may be run again and again.

VM is a name, an inventory path (/DC/vm/prod/web1) or a UUID; or all that fit
  'web*'   folder:/DC/vm/prod   pool:/DC/host/cluster/Resources/prod
  attribute:NAME=PATTERN

--proxy-uri  where the VM's ESXi host finds the server or relay:
             telnet://HOST:PORT, or telnets:// with options behind #
--service-uri  any text that server and VM agree on. The server takes the
             label from it, and --label puts it in: NAME/LABEL is what other
             commands call the port then. A VM with one port needs none.

vSphere adds ports only to VMs that are off. The user needs System.View and
System.Read, VirtualMachine.Config.EditDevice and
VirtualMachine.Interact.DeviceConnection; to add,
VirtualMachine.Config.AddRemoveDevice.

Exit codes: 1 some failed, 2 usage, 3 no such VM or port, 4 not allowed,
6 server unreachable, 7 the VM went away meanwhile, 130 interrupted.

Examples:
  vspc point web1 --vsphere https://vc/sdk --user vspc@vsphere.local \\
    --password-file pw --pin sha256:HEX \\
    --service-uri telnet://vspc:13370 --proxy-uri telnet://10.0.0.9:13370
  What would change, settings of the API from the environment:
    vspc point 'web*' --service-uri telnet://vspc:13370 \\
      --proxy-uri telnet://10.0.0.9:13370 --plan
  A second port, web1/com2:
    vspc point web1 --label com2 --add --service-uri telnet://vspc:13370 \\
      --proxy-uri telnet://10.0.0.9:13370
  The same as a script for govc:
    vspc point web1 --service-uri telnet://vspc:13370 \\
      --proxy-uri telnet://10.0.0.9:13370 --print=govc
`
