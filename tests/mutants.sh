#!/usr/bin/env bash
# Breaks the planner in every small way there is, one at a time, and tells which of these mutants no test notices.
#
#   mutants.sh                            all of src/plan (about twenty minutes)
#   mutants.sh --file src/plan/task.rs    further arguments go to cargo-mutants
#
# The planner needs nothing but the standard library, so that a crate of its own with nothing else in it builds and tests
# in seconds. Nothing outside target/mutants is touched; the lists are in target/mutants/mutants.out.
#
# Installs, once: cargo-mutants, into cargo's own folder.
#
# Survivors are a result and no error: docs/mutants.md says which ones are expected.
# Exit codes: 0 the mutants were tested; else that of cargo-mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SCRATCH=target/mutants/core

if ! cargo mutants --version >/dev/null 2>&1; then
  cargo install --locked --quiet cargo-mutants
fi

rm -rf "$SCRATCH/src"
mkdir -p "$SCRATCH/src"
cp -R src/plan.rs src/plan "$SCRATCH/src/"
printf '//! The planner alone.\n\npub mod plan;\n' >"$SCRATCH/src/lib.rs"
printf '[package]\nname = "plan"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n' >"$SCRATCH/Cargo.toml"

# The scratch crate lies in a folder that git ignores, and is to be copied all the same.
status=0
cargo mutants --dir "$SCRATCH" --gitignore false --jobs 1 --timeout 20 -o target/mutants "$@" || status=$?
case $status in
  # 2: some survived; 3: some ran into the timeout, and were caught by that.
  0 | 2 | 3) ;;
  *) exit "$status" ;;
esac
