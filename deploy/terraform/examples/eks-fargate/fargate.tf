# Fargate's own part of a pod: it pulls the images and writes the logs. The pod itself does not have this role.
resource "aws_iam_role" "fargate" {
  name_prefix = "${var.cluster_name}-fargate-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks-fargate-pods.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # Profiles of this cluster only: otherwise whoever makes a profile elsewhere could have the role.
      Condition = {
        ArnLike = {
          "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:eks:${var.region}:${data.aws_caller_identity.current.account_id}:fargateprofile/${var.cluster_name}/*"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "fargate" {
  role       = aws_iam_role.fargate.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonEKSFargatePodExecutionRolePolicy"
}

# Of the namespace `default` what is labelled for it, and all builds (deploy/builds-on-fargate).
resource "aws_eks_fargate_profile" "default" {
  cluster_name           = aws_eks_cluster.this.name
  fargate_profile_name   = "${var.cluster_name}-default"
  pod_execution_role_arn = aws_iam_role.fargate.arn
  subnet_ids             = local.private_subnet_ids

  selector {
    namespace = "default"
    labels    = { compute-type = "fargate" }
  }

  selector {
    namespace = "deis-builder"
  }
}
