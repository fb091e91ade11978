{{/*
The pod of the agent, or one like it that does something else: `root` is the chart's own scope, `args` the command line.
*/}}
{{- define "spot-interrupt-handler.pod" -}}
{{- $values := .root.Values }}
{{- $chart := .root.Chart -}}
serviceAccountName: spot-interrupt-handler
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The token comes from the volume below.
automountServiceAccountToken: false
# On AL2023 and Karpenter nodes IMDS answers one hop away and no further.
hostNetwork: {{ $values.hostNetwork }}
# Cluster DNS may be among the pods that are being evicted.
dnsPolicy: Default
enableServiceLinks: false
# The last to be stopped when the node shuts down, and never pre-empted.
priorityClassName: {{ $values.priorityClassName }}
# A rolling update in mid-drain lets the drain end before the next agent starts.
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
nodeSelector:
  kubernetes.io/os: linux
  {{- $label := splitn "=" 2 $values.nodeLabel }}
  {{ $label._0 }}: {{ $label._1 | quote }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        # These nodes may carry the label above and tolerate nothing less: Fargate runs no DaemonSet pods, Auto
        # Mode handles interruptions itself, hybrid nodes are not EC2.
        - matchExpressions:
            - key: eks.amazonaws.com/compute-type
              operator: NotIn
              values: [fargate, auto, hybrid]
# A tainted spot node is reclaimed like any other.
tolerations:
  - operator: Exists
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
# No probes: one that fails would end the agent in the middle of a drain. No ports: nothing listens.
containers:
  - name: spot-interrupt-handler
    {{- with $values.image }}
    {{- if .digest }}
    image: {{ .repository }}@{{ .digest }}
    {{- else }}
    image: {{ .repository }}:{{ .tag | default $chart.AppVersion }}
    {{- end }}
    imagePullPolicy: {{ .pullPolicy }}
    {{- end }}
    args: {{ toJson .args }}
    env:
      - name: NODE_NAME
        valueFrom:
          fieldRef:
            fieldPath: spec.nodeName
      - name: POD_NAME
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      - name: POD_NAMESPACE
        valueFrom:
          fieldRef:
            fieldPath: metadata.namespace
      - name: POD_UID
        valueFrom:
          fieldRef:
            fieldPath: metadata.uid
      {{- range $name, $value := dict
        "SIH_MODE" $values.mode
        "SIH_DISCOVER" $values.targetGroups.discover
        "SIH_TARGET_GROUP_ARN" (join "," $values.targetGroups.arns)
        "SIH_DRY_RUN" (ternary "true" "" $values.dryRun)
        "SIH_CLUSTER_NAME" $values.clusterName
        "SIH_LOG_LEVEL" $values.logLevel
      }}
      {{- if $value }}
      - name: {{ $name }}
        value: {{ $value | quote }}
      {{- end }}
      {{- end }}
      {{- if $values.aws.podIdentity }}
      # What EKS would add as a pod is created, spelled out: a pod that was created before its association, or
      # while the webhook was away, would run without credentials. EKS leaves a pod alone that has the volume.
      - name: AWS_CONTAINER_CREDENTIALS_FULL_URI
        value: http://169.254.170.23/v1/credentials
      - name: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
        value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token
      {{- end }}
      {{- with $values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    volumeMounts:
      - name: api-access
        mountPath: /var/run/secrets/kubernetes.io/serviceaccount
        readOnly: true
      {{- if $values.aws.podIdentity }}
      - name: eks-pod-identity-token
        mountPath: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount
        readOnly: true
      {{- end }}
volumes:
  # What automounting would give, spelled out: the token is bound to this pod and names its node, which is what
  # the admission policies compare with.
  - name: api-access
    projected:
      sources:
        - serviceAccountToken:
            path: token
            expirationSeconds: 3607
        - configMap:
            name: kube-root-ca.crt
            items:
              - key: ca.crt
                path: ca.crt
        - downwardAPI:
            items:
              - path: namespace
                fieldRef:
                  fieldPath: metadata.namespace
  {{- if $values.aws.podIdentity }}
  - name: eks-pod-identity-token
    projected:
      sources:
        - serviceAccountToken:
            # For the add-on alone: the API server takes no token of this audience.
            audience: pods.eks.amazonaws.com
            expirationSeconds: 86400
            path: eks-pod-identity-token
  {{- end }}
{{- end }}
