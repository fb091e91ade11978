locals {
  service_account = "spot-interrupt-handler"

  # Whose credentials they are is in the session, and no pod can choose it.
  pod_identity_trust = {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:SourceAccount"                         = var.account_id
          "aws:RequestTag/kubernetes-namespace"       = var.namespace
          "aws:RequestTag/kubernetes-service-account" = local.service_account
        }
        ArnEquals = {
          "aws:SourceArn" = "arn:${var.partition}:eks:${var.region}:${var.account_id}:cluster/${var.cluster_name}"
        }
      }
    }]
  }

  issuer = var.oidc_issuer == null ? null : trimprefix(var.oidc_issuer, "https://")
  irsa_trust = var.oidc_issuer == null ? null : {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = "arn:${var.partition}:iam::${var.account_id}:oidc-provider/${local.issuer}" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${local.service_account}"
        }
      }
    }]
  }

  policy = {
    Version = "2012-10-17"
    Statement = [
      # IAM has no condition for the target: this may deregister any instance of a marked group, which is why the agent
      # only ever sends its own.
      {
        Sid       = "DeregisterFromMarkedGroups"
        Effect    = "Allow"
        Action    = "elasticloadbalancing:DeregisterTargets"
        Resource  = "arn:${var.partition}:elasticloadbalancing:${var.region}:${var.account_id}:targetgroup/*/*"
        Condition = { StringEquals = { "aws:ResourceTag/${var.target_group_tag.key}" = var.target_group_tag.value } }
      },
      # These have no resource to be limited to.
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:DescribeTargetHealth",
          "elasticloadbalancing:DescribeTargetGroups",
          "elasticloadbalancing:DescribeTags",
        ]
        Resource = "*"
      },
    ]
  }
}
