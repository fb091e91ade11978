#!/usr/bin/env bash
# Serves etcd and kube-apiserver until standard input ends, then stops both and removes their directory.
#
#   serve.sh BINARIES DIRECTORY ETCD_PORT API_PORT [FLAG OF KUBE-APISERVER …]
#
# The test binary holds the other end of standard input: however it ends, killed included, nothing of this stays behind.
# DIRECTORY holds sa.key, sa.pub, tokens.csv and audit.yaml. An exit before the end of standard input means that one of the
# two could not start or fell over: their logs are in DIRECTORY, and it is not removed.
set -euo pipefail
binaries=$1 directory=$2 etcd_port=$3 api_port=$4
shift 4
exec 3<&0 </dev/null

"$binaries/etcd" --data-dir "$directory/etcd" --unsafe-no-fsync --log-level=error \
  --listen-client-urls="http://127.0.0.1:$etcd_port" --advertise-client-urls="http://127.0.0.1:$etcd_port" \
  --listen-peer-urls=http://127.0.0.1:0 >"$directory/etcd.log" 2>&1 3<&- &
etcd=$!

"$binaries/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" \
  --bind-address=127.0.0.1 --secure-port="$api_port" --cert-dir="$directory" \
  --token-auth-file="$directory/tokens.csv" \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file="$directory/sa.pub" --service-account-signing-key-file="$directory/sa.key" \
  --authorization-mode=Node,RBAC \
  --enable-admission-plugins=NodeRestriction "$@" \
  --audit-policy-file="$directory/audit.yaml" --audit-log-path="$directory/audit.log" --audit-log-maxsize=4096 \
  >"$directory/kube-apiserver.log" 2>&1 3<&- &
api=$!

cat <&3 >/dev/null &
end_of_input=$!

wait -n "$etcd" "$api" "$end_of_input" || true
if kill -0 "$etcd" 2>/dev/null && kill -0 "$api" 2>/dev/null; then
  remove=true
else
  remove=false
fi
kill -KILL "$etcd" "$api" "$end_of_input" 2>/dev/null || true
wait 2>/dev/null || true
if $remove; then rm -rf "$directory"; else exit 1; fi
