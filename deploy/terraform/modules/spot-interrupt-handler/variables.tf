variable "cluster_name" {
  description = "The name of the EKS cluster."
  type        = string
}

variable "region" {
  description = "The region of the cluster."
  type        = string
}

variable "account_id" {
  description = "The account of the cluster and of its target groups."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has twelve digits."
  }
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "namespace" {
  description = "The namespace of the agent."
  type        = string
  default     = "kube-system"
}

variable "target_group_tag" {
  description = "The tag of the target groups that the agent may deregister from."
  type        = object({ key = string, value = string })
  default     = { key = "interrupt-handler/enabled", value = "true" }
}

variable "oidc_issuer" {
  description = "The issuer of the cluster's tokens, for IRSA."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_issuer == null || can(regex("^https://", var.oidc_issuer))
    error_message = "The issuer is a URL, as the cluster has it in identity.oidc.issuer."
  }
}

variable "node" {
  description = "What a self-managed node has to know to join, for user_data."
  type = object({
    endpoint              = string
    certificate_authority = string
    service_cidr          = string
  })
  default = null
}
