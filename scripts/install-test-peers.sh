#!/usr/bin/env bash
# Installs the real programs that the tests talk to: QEMU with a Linux guest, telnet, tmux, python3, openssl, Chromium, zsh,
# fish, and vcsim, the vSphere simulator, which is built with Go (go.dev/dl; its own packages come through the Go module proxy).
#
#   scripts/install-test-peers.sh            install what is missing (root, or sudo without a password)
#   scripts/install-test-peers.sh --check    change nothing; exit 1 when something is missing
#
# The guest kernel is downloaded and unpacked, never installed: nothing in /boot changes. It goes to
# $VSPC_PEERS_DIR (default: $XDG_CACHE_HOME/vspc-peers, that is ~/.cache/vspc-peers), where the tests look for it
# (test/support/peers.ts). Tried on Debian 12; Ubuntu's kernel package is offered as a second choice, untried.
set -euo pipefail

peers_dir=${VSPC_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vspc-peers}
kernel_link=$peers_dir/vmlinuz
kernel_metapackages=(linux-image-cloud-amd64 linux-image-virtual)

# The last version before the simulator got a module of its own, which `go install` refuses (it has a `replace`).
vcsim_version=v0.46.3
vcsim_link=$peers_dir/vcsim

# Program to look for, and the Debian package that brings it.
needed=(
  qemu-system-x86_64:qemu-system-x86
  busybox:busybox-static
  cpio:cpio
  zstd:zstd
  telnet:telnet
  tmux:tmux
  python3:python3
  openssl:openssl
  chromium:chromium
  zsh:zsh
  fish:fish
  ip:iproute2
)

say() { printf 'install-test-peers: %s\n' "$*"; }
die() { printf 'install-test-peers: %s\n' "$*" >&2; exit 1; }

# A dynamically linked busybox would not run in the guest, which holds nothing else.
static_busybox() { command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

missing_packages() {
  local entry program
  for entry in "${needed[@]}"; do
    program=${entry%%:*}
    if [ "$program" = busybox ]; then static_busybox && continue; else command -v "$program" >/dev/null && continue; fi
    echo "${entry#*:}"
  done
}

have_kernel() { [ -s "$kernel_link" ]; }

have_vcsim() { [ -x "$vcsim_link" ] && [ "$(readlink "$vcsim_link")" = "vcsim-$vcsim_version" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

updated=
apt_update() {
  [ -z "$updated" ] || return 1
  updated=yes
  say 'refreshing the package lists (apt-get update)'
  as_root apt-get update -qq
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# The versioned package behind a kernel metapackage, e.g. linux-image-6.1.0-56-cloud-amd64.
kernel_package() {
  local meta package
  for meta in "${kernel_metapackages[@]}"; do
    package=$(apt-cache depends "$meta" 2>/dev/null | awk '/^ *Depends: *linux-image-[0-9]/ { print $2; exit }') || true
    [ -z "$package" ] || { echo "$package"; return; }
  done
}

fetch_kernel() {
  local package=$1 work=$2
  # Without this apt complains that its own user may not write here.
  (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package" </dev/null)
}

unpack_kernel() {
  local package work image
  package=$(kernel_package)
  if [ -z "$package" ]; then
    apt_update || true
    package=$(kernel_package)
  fi
  [ -n "$package" ] || die "no kernel package found: none of ${kernel_metapackages[*]} is in the package lists"

  mkdir -p "$peers_dir"
  # In the cache directory itself, so that the last step is a rename: a script cut short leaves no half kernel behind.
  work=$(mktemp -d "$peers_dir/unpack.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  # Stale lists name versions that the mirror no longer has.
  fetch_kernel "$package" "$work" || { apt_update && package=$(kernel_package) && fetch_kernel "$package" "$work"; } ||
    die "could not download $package"
  mkdir "$work/root"
  dpkg-deb -x "$work"/*.deb "$work/root"
  image=$(find "$work/root/boot" -name 'vmlinuz-*' | head -n 1)
  [ -s "$image" ] || die "$package holds no boot/vmlinuz-*"
  chmod -R u+w,a+rX "$work/root"
  rm -rf "${peers_dir:?}/$package"
  mv "$work/root" "$peers_dir/$package"
  ln -sfn "$package/boot/${image##*/}" "$kernel_link"
  say "unpacked $package into $peers_dir (not installed)"
}

build_vcsim() {
  local work started=$SECONDS
  command -v go >/dev/null || die "vcsim is built with Go, which is not here: install Go 1.22 or newer from go.dev/dl"
  mkdir -p "$peers_dir"
  work=$(mktemp -d "$peers_dir/build.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  say "building vcsim $vcsim_version with $(go env GOVERSION) (a minute or two)"
  GOBIN=$work GOFLAGS=-trimpath go install -ldflags '-s -w' "github.com/vmware/govmomi/vcsim@$vcsim_version" </dev/null ||
    die "could not build vcsim $vcsim_version"
  mv "$work/vcsim" "$peers_dir/vcsim-$vcsim_version"
  ln -sfn "vcsim-$vcsim_version" "$vcsim_link"
  say "built vcsim in $((SECONDS - started)) s"
}

check_only=
case ${1-} in
  '') ;;
  --check) check_only=yes ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) die "unknown argument '$1' (known: --check, --help)" ;;
esac

mapfile -t packages < <(missing_packages)

if [ -n "$check_only" ]; then
  [ ${#packages[@]} = 0 ] || say "missing packages: ${packages[*]}"
  have_kernel || say "missing guest kernel: $kernel_link"
  have_vcsim || say "missing vSphere simulator: $vcsim_link ($vcsim_version)"
  [ ${#packages[@]} = 0 ] && have_kernel && have_vcsim || exit 1
  say 'everything is there'
  exit 0
fi

if [ ${#packages[@]} = 0 ] && have_kernel && have_vcsim; then
  say "everything is there (kernel: $(readlink "$kernel_link"))"
  exit 0
fi

command -v apt-get >/dev/null || die "needs apt-get (Debian or Ubuntu); install these by hand: ${packages[*]-}"
[ "$(dpkg --print-architecture)" = amd64 ] || die 'the guest is an amd64 one: this script knows amd64 machines only'

if [ ${#packages[@]} != 0 ]; then
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    die "not root, and no sudo without a password. Run: sudo apt-get install --no-install-recommends ${packages[*]}"
  fi
  say "installing ${packages[*]}"
  apt_install "${packages[@]}" 2>/dev/null || { apt_update && apt_install "${packages[@]}"; } ||
    die "apt-get could not install: ${packages[*]}"
  mapfile -t packages < <(missing_packages)
  [ ${#packages[@]} = 0 ] || die "still missing after the installation: ${packages[*]}"
fi

have_kernel || unpack_kernel
have_vcsim || build_vcsim
say 'done'
