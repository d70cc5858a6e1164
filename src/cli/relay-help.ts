/** What stands below the options of `vspc relay --help`. */
export const RELAY_HELP = `
A route joins two sides, each listened on or dialled. URI is one of
  tcp://HOST:PORT   tls://HOST:PORT?cert=&key=&ca=&pin=   unix:///PATH
  vsock://CID:PORT (any, host, local)   hvsock:///PATH:PORT   fifo:///PATH
and may say name=VM, label=L, proxy=v2 (a header that says where the stream
comes from) and resume=on (the stream survives its connections).

Bytes are passed on as they are. While the dialled side is away it is dialled
again, and who waits for it is held (limits.relayHeld, limits.relayHoldMs) or,
with --when-away refuse, closed. Two listening sides join who comes on one with
who comes on the other; two dialled ones are kept joined.

Once ready, "relaying FROM -> TO" is printed for each route; with --json one
line of JSON. SIGTERM ends all streams and exits 0, SIGHUP reads the
configuration and certificates again.

Examples:
  VMs of this host to the appliance (vSPC relay):
    vspc relay --listen tcp://0.0.0.0:13370 --dial 'vsock://3:13370?proxy=v2'
  Network serial port, the VM's host dials us, or is dialled:
    vspc relay --listen 'tcp://0.0.0.0:4001?name=vm1' --dial 'tls://appliance:13370?proxy=v2'
    vspc relay --dial 'tcp://esx1:2001?name=vm1' --dial 'tls://appliance:13370?proxy=v2'
  Serial port on a socket or pipe:
    vspc relay --listen 'unix:///run/vm1.sock?name=vm1' --dial 'tls://appliance:13370?proxy=v2'
    vspc relay --dial 'fifo:///run/vm1?name=vm1' --dial 'tls://appliance:13370?proxy=v2'
  VMs that connect by vSocket:
    vspc relay --listen 'vsock://any:5000?name=vm-{peer}' --dial 'tls://appliance:13370?proxy=v2'
  Peer to peer, on each VM's host; then on the appliance's own host:
    vspc relay --listen vsock://any:5000 --dial next-hop:appliance \\
      --next-hop 'appliance=tls://esx2:13371?cert=a.crt&key=a.key&ca=ca.pem&proxy=v2&resume=on' \\
      --control unix:///run/vspc/relay.sock
    vspc relay --listen 'tls://0.0.0.0:13371?cert=b.crt&key=b.key&ca=ca.pem' --dial vsock://3:13370
  vCenter from an appliance without a management network:
    vspc relay --listen vsock://any:8443 --dial tcp://vcenter:443
  Many routes, from a file:
    vspc relay --config /etc/vspc/relay.yaml
`
