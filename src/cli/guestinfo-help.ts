/** What stands below the options of `vspc guestinfo --help`. */
export const GUESTINFO_HELP = `
Inside a VM, through vmware-rpctool or vmtoolsd of VMware Tools: name KEYs only.
From outside, over the vSphere API: with --vsphere (or VSPC_VSPHERE_URL, or a
configuration file) the first argument is the VM: name, inventory path or UUID.

Keys that a guest sees begin with guestinfo.; those with a slash it can only
read. From outside every key can be read and set; a VM without keys: all that
the guest sees.

Records that the appliance understands:
  guestinfo.vspc.address.NETWORK   10.0.0.7/24 gateway=10.0.0.1 dns=10.0.0.2
  guestinfo.vspc.error.COMPONENT   what is wrong, on one line; empty = nothing
  guestinfo.vspc.process.ID        running started=SECONDS
                                   exited code=3 stopped=SECONDS
                                   failed code=127 error=text
and those of VMware's Integrated Containers (guestinfo.vice.).

A key that is made while the VM is on vanishes when it is switched off, with
what was published in it. Make it before: set --prepare, from outside.

watch --until-exit prints the exit status of a process, as soon as there is one
(also if there is one already), and ends with 0; of one that never started, with 1.

Exit codes: 2 usage or too long, 3 a key has no value or no such VM, 4 read-only
or not allowed, 6 no VMware host or tool, or server unreachable, 7 the VM is
gone, 124 timed out, 130 interrupted, 1 anything else.

Examples:
  Inside a VM:
    vspc guestinfo get guestinfo.hostname
    vspc guestinfo get --wait=2m guestinfo.vice./repo
    vspc guestinfo set "guestinfo.vspc.process.main=exited code=$? stopped=$(date +%s)"
    vspc guestinfo set --stdin guestinfo.report < report.txt
    vspc guestinfo watch guestinfo.hostname guestinfo.command
  From outside, settings of the API from the environment:
    vspc guestinfo get web1
    vspc guestinfo set web1 guestinfo.hostname=web1 guestinfo.vice./repo=http://repo/
    vspc guestinfo set web1 --prepare guestinfo.vspc.process.main
    status=$(vspc guestinfo watch web1 --until-exit=main --timeout=10m)
    vspc guestinfo watch web1 --json
`
