#!/usr/bin/env bash
# Checks the CloudFormation templates (cfn-lint, our own rules) and the Terraform module (its own tests), and that
# broken copies of both fail.
#
# Needs Python 3.9 or later with venv and a package index; cfn-lint is installed once, under the checkout's cache
# (SIH_CACHE_DIR, else .cache). Needs Terraform or OpenTofu; without either a loud line says so, and under CI=true it is
# a failure.
set -euo pipefail
cd "$(dirname "$0")"

readonly CFN_LINT=1.58.0

venv="${SIH_CACHE_DIR:-../.cache}/cfn-lint-$CFN_LINT"
if [ ! -e "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "cfn-lint==$CFN_LINT"
  touch "$venv/complete"
fi

exec "$venv/bin/python" check.py
