#!/usr/bin/env bash
# Builds one of the programs beside this file from its Go modules, once, and prints the path of the binary as the last line
# on stdout: `promtool`, `actionlint`, or `logql`, which evaluates the rules of a Loki ruler with Loki's own engine.
#
# They are kept under the checkout's cache (SIH_CACHE_DIR, else .cache) and under the user's, because neither `cargo clean`
# nor a fresh clone should cost five minutes. SIH_PROMTOOL, SIH_LOGQL and SIH_ACTIONLINT, the paths of such programs,
# replace the builds.
#
# Exit codes: 0 there; 1 the build failed; 3 no Go and no such path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

name="$1"
case "$name" in
  promtool) given="${SIH_PROMTOOL-}" package=github.com/prometheus/prometheus/cmd/promtool ;;
  actionlint) given="${SIH_ACTIONLINT-}" package=github.com/rhysd/actionlint/cmd/actionlint ;;
  logql) given="${SIH_LOGQL-}" package=. ;;
  *) exit 1 ;;
esac
say() { printf '%s: %s\n' "$name" "$*" >&2; }

if [ -n "$given" ]; then
  printf '%s\n' "$given"
  exit 0
fi
if ! command -v go >/dev/null; then
  say "################################################################"
  say "# NO GO ON THIS MACHINE: neither alert rules nor workflows are #"
  say "# checked. Install Go, or set SIH_PROMTOOL, SIH_LOGQL and      #"
  say "# SIH_ACTIONLINT.                                              #"
  say "################################################################"
  exit 3
fi

cd "$name"
# Debug information takes a third of the build.
flags=(-mod=readonly -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w")
export CGO_ENABLED=0 GOFLAGS=
key="$({
  cat go.mod go.sum ./*.go 2>/dev/null || true
  go version
  printf '%s\n' "${flags[@]}"
} | sha256sum | cut -c1-16)"

own="${SIH_CACHE_DIR:-../../../.cache}/$name"
mkdir -p "$own"
own="$(cd "$own" && pwd)"
shared=""
if [ -n "${XDG_CACHE_HOME:-${HOME-}}" ]; then
  shared="${XDG_CACHE_HOME:-$HOME/.cache}/spot-interrupt-handler/$name"
  # A convenience: without it the checkout's is enough.
  if ! mkdir -p "$shared" 2>/dev/null || [ ! -w "$shared" ]; then shared=""; fi
fi

exec 9>"$own/.lock"
flock 9
if [ ! -x "$own/$key" ]; then
  # Put in place by a rename, so that nobody ever sees half of one.
  work="$(mktemp -d "$own/.build.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  if [ -n "$shared" ] && [ -x "$shared/$key" ]; then
    cp "$shared/$key" "$work/program"
  else
    say "downloading and building (minutes, the first time)"
    go build "${flags[@]}" -o "$work/program" "$package"
    if [ -n "$shared" ]; then
      cp "$work/program" "$shared/.$key.$$"
      mv "$shared/.$key.$$" "$shared/$key"
    fi
  fi
  mv "$work/program" "$own/$key"
fi
printf '%s\n' "$own/$key"
