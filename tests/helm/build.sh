#!/usr/bin/env bash
# Builds helm from the Go modules beside this file, once, and prints the path of the binary as the last line on stdout.
#
# It is kept under the checkout's cache (SIH_CACHE_DIR, else .cache) and under the user's, because neither `cargo clean`
# nor a fresh clone should cost three minutes. SIH_HELM, the path of a helm 4, replaces the build.
#
# Exit codes: 0 there; 1 the build failed; 3 no Go and no SIH_HELM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'helm: %s\n' "$*" >&2; }

if [ -n "${SIH_HELM-}" ]; then
  printf '%s\n' "$SIH_HELM"
  exit 0
fi
if ! command -v go >/dev/null; then
  say "########################################################"
  say "# NO GO ON THIS MACHINE: the chart cannot be tested.   #"
  say "# Install Go, or point SIH_HELM at a helm 4.           #"
  say "########################################################"
  exit 3
fi

# Debug information takes a third of the build.
flags=(-mod=readonly -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w")
export CGO_ENABLED=0 GOFLAGS=
key="$({
  cat go.mod go.sum
  go version
  printf '%s\n' "${flags[@]}"
} | sha256sum | cut -c1-16)"

own="${SIH_CACHE_DIR:-../../.cache}/helm"
mkdir -p "$own"
own="$(cd "$own" && pwd)"
shared=""
if [ -n "${XDG_CACHE_HOME:-${HOME-}}" ]; then
  shared="${XDG_CACHE_HOME:-$HOME/.cache}/spot-interrupt-handler/helm"
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
    cp "$shared/$key" "$work/helm"
  else
    say "downloading and building (minutes, the first time)"
    go build "${flags[@]}" -o "$work/helm" helm.sh/helm/v4/cmd/helm
    if [ -n "$shared" ]; then
      cp "$work/helm" "$shared/.$key.$$"
      mv "$shared/.$key.$$" "$shared/$key"
    fi
  fi
  mv "$work/helm" "$own/$key"
fi
printf '%s\n' "$own/$key"
