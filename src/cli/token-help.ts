export const TOKEN_HELP = `
A token is shown once, when it is made; the server's file keeps its SHA-256 and
who it is for. A server sees changes of the file within seconds: no restart.

FILE is the server's file of tokens: --tokens, else env VSPC_TOKENS, else what the
configuration says (--config, env VSPC_CONFIG), else tokens.json in its data
directory. It is made if it is not there, and replaced at once or not at all. Run
this as the user that the server runs as, or as root.

The server asks for tokens once it is told of any: vspc serve --tokens FILE, or a
section access in its configuration. From then on who shows none may do nothing
but what rules give to "anyone".

ROLE is viewer (see ports and what they print), operator (type and send breaks,
too), supervisor (also put others out), admin, or one of the configuration. It
counts on the ports of --ports: '*', 'web*' (a pattern of VM names), uuid:UUID,
host:PATTERN. What a GROUP or a token's name may, the rules of the configuration
say (docs/access.md).

Examples:
  vspc token add ci --role viewer --ports 'ci-*' --expires 90d >ci.token
  VSPC_TOKEN_FILE=ci.token vspc ports
  vspc token add alice-laptop --group ops
  vspc token list
  vspc token remove ci
  vspc token check <ci.token     who it is, and what it may
  vspc token check --vm web1 --host 10.0.0.7 <ci.token      and why, on such a VM
  vspc token check --server https://vspc.example.com        asks a server; VSPC_TOKEN
  vspc token hash <ci.token      for a file that another program writes
`
