#!/usr/bin/env bash
# Runs kube-controller-manager, kube-scheduler and kwok beside a running API server until standard input ends.
#
#   serve.sh CONTROLLERS KUBELETS DIRECTORY KUBECONFIG STAGES
#
# The first two are where the binaries are, DIRECTORY is the server's, with sa.key and apiserver.crt, and STAGES is what
# kwok does with nodes and pods. An exit before the end of standard input means that one of the three could not start or
# fell over: their logs are in DIRECTORY.
set -euo pipefail
controllers=$1 kubelets=$2 directory=$3 kubeconfig=$4 stages=$5
exec 3<&0 </dev/null

# What a cluster of EKS runs, less what has no part in where pods are: certificates, volumes, quotas, addresses.
own=(
  clusterrole-aggregation-controller daemonset-controller deployment-controller disruption-controller
  endpointslice-controller garbage-collector-controller job-controller namespace-controller node-lifecycle-controller
  pod-garbage-collector-controller replicaset-controller root-ca-certificate-publisher-controller
  serviceaccount-controller statefulset-controller taint-eviction-controller
  validatingadmissionpolicy-status-controller
)

"$controllers/kube-controller-manager" --kubeconfig="$kubeconfig" --leader-elect=false --secure-port=0 \
  --controllers="$(IFS=,; echo "${own[*]}")" \
  --service-account-private-key-file="$directory/sa.key" --root-ca-file="$directory/apiserver.crt" \
  --kube-api-qps=200 --kube-api-burst=400 >"$directory/kube-controller-manager.log" 2>&1 3<&- &
manager=$!

"$controllers/kube-scheduler" --kubeconfig="$kubeconfig" --leader-elect=false --secure-port=0 \
  --kube-api-qps=200 --kube-api-burst=400 >"$directory/kube-scheduler.log" 2>&1 3<&- &
scheduler=$!

"$kubelets/kwok" --kubeconfig="$kubeconfig" --config="$stages" \
  --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --node-lease-duration-seconds=40 \
  >"$directory/kwok.log" 2>&1 3<&- &
kwok=$!

cat <&3 >/dev/null &
end_of_input=$!

wait -n "$manager" "$scheduler" "$kwok" "$end_of_input" || true
ended=false
for process in "$manager" "$scheduler" "$kwok"; do
  kill -0 "$process" 2>/dev/null || ended=true
done
kill -KILL "$manager" "$scheduler" "$kwok" "$end_of_input" 2>/dev/null || true
wait 2>/dev/null || true
if $ended; then exit 1; fi
