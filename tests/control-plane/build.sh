#!/usr/bin/env bash
# Builds the programs of a control plane from the Go modules beside this file, once, and prints the directory that holds
# them.
#
#   build.sh [--check] [server | controllers | kubelets]
#
#   server        etcd and kube-apiserver (about 5 CPU-minutes the first time); this one without an argument
#   controllers   kube-controller-manager and kube-scheduler (2 more)
#   kubelets      kwok, which plays them, from a module of its own (2.5)
#   --check       only looks: prints the directory if it is there already, else exits 1
#
# The last line on stdout is the directory. The binaries are kept under the checkout's cache (SIH_CACHE_DIR, else .cache)
# and under the user's, because neither `cargo clean` nor a fresh clone should cost ten minutes. KUBEBUILDER_ASSETS, as
# envtest knows it, replaces the build of the server, and of the others as far as it holds them.
#
# Exit codes: 0 there; 1 not there, or the build failed; 3 no Go and no KUBEBUILDER_ASSETS; 64 usage.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here"

say() { printf 'control-plane: %s\n' "$*" >&2; }

only_check=false
if [ "${1-}" = --check ]; then
  only_check=true
  shift
fi
part="${1-server}"
module=.
case "$part" in
server) packages=(etcd=go.etcd.io/etcd/server/v3 kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver) ;;
controllers)
  packages=(
    kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager
    kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler
  )
  ;;
kubelets)
  packages=(kwok=sigs.k8s.io/kwok/cmd/kwok)
  module=kwok
  ;;
*)
  say "unknown argument '$1'; usage: build.sh [--check] [server | controllers | kubelets]"
  exit 64
  ;;
esac

# Whether this directory holds every program of the part.
complete() {
  local package
  for package in "${packages[@]}"; do
    [ -x "$1/${package%%=*}" ] || return 1
  done
}

if [ -n "${KUBEBUILDER_ASSETS-}" ]; then
  if complete "$KUBEBUILDER_ASSETS"; then
    printf '%s\n' "$KUBEBUILDER_ASSETS"
    exit 0
  fi
  if [ "$part" = server ]; then
    say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS does not hold both etcd and kube-apiserver"
    exit 1
  fi
fi

if ! command -v go >/dev/null; then
  say "###########################################################################"
  say "# NO GO ON THIS MACHINE: the tests against a real API server cannot run.  #"
  say "# Install Go, or point KUBEBUILDER_ASSETS at etcd and kube-apiserver.     #"
  say "###########################################################################"
  exit 3
fi

kubernetes="$(sed -n 's|^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' go.mod)"
minor="${kubernetes#v*.}"

# Without these two packages stamped, the server reports v0.0.0-master and clients that compare versions misbehave.
# No date and no commit of this build: the same sources must give the same binaries.
stamps=""
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  for stamp in "gitVersion=$kubernetes" gitMajor=1 "gitMinor=${minor%%.*}" gitTreeState=archive \
    gitCommit=unknown buildDate=1970-01-01T00:00:00Z; do
    stamps+=" -X $package.$stamp"
  done
done

# Debug information takes a third of the build and two thirds of the binaries.
flags=(-mod=readonly -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w$stamps")
export CGO_ENABLED=0 GOFLAGS=

# Everything that the binaries depend on: sources, compiler and flags.
key="$({
  cat "$module/go.mod" "$module/go.sum"
  go version
  printf '%s\n' "CGO_ENABLED=$CGO_ENABLED" "${flags[@]}"
} | sha256sum | cut -c1-16)"

own="${SIH_CACHE_DIR:-$here/../../.cache}"
mkdir -p "$own/control-plane"
own="$(cd "$own/control-plane" && pwd)"
if [ "$part" != server ]; then key="$key-$part"; fi

# The user's cache is a convenience: without a home directory, or with a read-only one, the checkout's is enough.
shared=""
if [ -n "${XDG_CACHE_HOME:-${HOME-}}" ]; then
  shared="${XDG_CACHE_HOME:-$HOME/.cache}/spot-interrupt-handler/control-plane"
fi

# Prints the directory and ends the script, if either cache has this key.
use_if_built() {
  for dir in "$own/$key" ${shared:+"$shared/$key"}; do
    if complete "$dir"; then
      printf '%s\n' "$dir"
      exit 0
    fi
  done
}

use_if_built
if $only_check; then exit 1; fi

if [ -n "$shared" ] && ! { mkdir -p "$shared" && [ -w "$shared" ]; } 2>/dev/null; then
  say "$shared cannot be written: the binaries stay in $own alone"
  shared=""
fi

# The checkout's lock first, then the user's, in every run: two runs never wait for each other.
exec 8>"$own/.lock"
flock 8
if [ -n "$shared" ]; then
  exec 9>"$shared/.lock"
  flock 9
fi
use_if_built

started=$SECONDS
work="$(mktemp -d "$own/.build.XXXXXX")"
trap 'rm -rf "$work"' EXIT

cd "$module"
for package in "${packages[@]}"; do
  say "downloading and building ${package%%=*} (minutes, the first time)"
  go build "${flags[@]}" -o "$work/${package%%=*}" "${package#*=}"
  "$work/${package%%=*}" --version >&2
done

# Renamed into place as a whole: nobody ever sees a directory with some of them, or with half of one.
install_from_work() {
  local copy
  copy="$(mktemp -d "$1/.build.XXXXXX")"
  cp "$work"/* "$copy/"
  chmod 755 "$copy"
  rm -rf "${1:?}/$key"
  mv -T "$copy" "$1/$key"
}
if [ -n "$shared" ]; then install_from_work "$shared"; fi
install_from_work "$own"

say "built in $((SECONDS - started)) s"
printf '%s\n' "$own/$key"
