output "policy" {
  description = "What the agent may do in AWS, as JSON."
  value       = jsonencode(local.policy)
}

output "pod_identity_trust" {
  description = "Who may have the role, by EKS Pod Identity, as JSON."
  value       = jsonencode(local.pod_identity_trust)
}

output "irsa_trust" {
  description = "The same by IRSA; null without oidc_issuer."
  value       = local.irsa_trust == null ? null : jsonencode(local.irsa_trust)
}

output "service_account" {
  description = "The agent's ServiceAccount, for the association."
  value       = { namespace = var.namespace, name = local.service_account }
}

output "user_data" {
  description = "For a launch template with Amazon Linux 2023 whose instances label themselves lifecycle=Ec2Spot or OnDemand; null without node."
  value = var.node == null ? null : templatefile("${path.module}/user-data.tftpl", {
    name                  = var.cluster_name
    endpoint              = var.node.endpoint
    certificate_authority = var.node.certificate_authority
    service_cidr          = var.node.service_cidr
  })
}
