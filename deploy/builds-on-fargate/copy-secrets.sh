#!/usr/bin/env bash
# Copies what a build needs of the builder's secrets into the namespace of the builds; again, after they have changed.
#
#   copy-secrets.sh [FROM [TO]]     from `deis` to `deis-builder`
#
# By the server alone: no secret is written to a file or shown.
set -euo pipefail
from=${1:-deis} to=${2:-deis-builder}

# What makes up a secret, without what belongs to the original alone (uid, version, owner).
# shellcheck disable=SC2016 # kubectl's template, not the shell's
template='{"apiVersion": "v1", "kind": "Secret", "type": {{printf "%q" .type}},
"metadata": {"name": {{printf "%q" .metadata.name}}
{{- with .metadata.annotations}}, "annotations": {
  {{- $separator := ""}}
  {{- range $key, $value := .}}
    {{- if ne $key "kubectl.kubernetes.io/last-applied-configuration"}}{{$separator}}{{printf "%q: %q" $key $value}}{{$separator = ", "}}{{end}}
  {{- end}}}{{end}}},
"data": {
  {{- $separator := ""}}
  {{- range $key, $value := .data}}{{$separator}}{{printf "%q: %q" $key $value}}{{$separator = ", "}}{{end}}}}'

for secret in builder-key-auth builder-ssh-private-keys objectstorage-keyfile; do
  kubectl get secret "$secret" --namespace "$from" --output "go-template=$template" |
    kubectl apply --server-side --namespace "$to" --filename -
done
