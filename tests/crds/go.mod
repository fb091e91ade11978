// Custom resource definitions, for the tests of the manifests: each of these modules has its own as YAML. Nothing is built
// from them.
module spot-interrupt-handler/tests/crds

go 1.26.0

require (
	github.com/aws/karpenter-provider-aws v1.14.1
	github.com/fluxcd/kustomize-controller v1.7.3
	github.com/fluxcd/source-controller v1.8.5
)
