# Everything else runs on a managed node group of spot instances, with the agent of spot-interrupt-handler/.

resource "aws_iam_role" "node" {
  name_prefix = "${var.cluster_name}-node-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"])

  role       = aws_iam_role.node.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/${each.key}"
}

# For the hop limit alone: pods of the pod network do not get at the role of their node.
resource "aws_launch_template" "node" {
  name_prefix = "${var.cluster_name}-node-"

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_eks_node_group" "spot" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "spot"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = local.private_subnet_ids
  ami_type        = "AL2023_x86_64_STANDARD"
  # EKS labels the nodes eks.amazonaws.com/capacityType=SPOT, which the overlay selects by.
  capacity_type = "SPOT"
  # Of one size and of many pools, so that interruptions do not come all at once.
  instance_types = ["m6i.xlarge", "m6a.xlarge", "m7i.xlarge", "m7a.xlarge", "m5.xlarge", "m5a.xlarge"]

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  scaling_config {
    min_size     = 2
    desired_size = 2
    max_size     = 10
  }

  lifecycle {
    # An autoscaler's.
    ignore_changes = [scaling_config[0].desired_size]
  }

  # Nodes without these join and then can do nothing, or do not get so far.
  depends_on = [aws_iam_role_policy_attachment.node, aws_route.private, aws_route_table_association.private]
}

module "agent" {
  source = "../../modules/spot-interrupt-handler"

  cluster_name = aws_eks_cluster.this.name
  region       = var.region
  account_id   = data.aws_caller_identity.current.account_id
  partition    = data.aws_partition.current.partition
}

resource "aws_iam_role" "agent" {
  name_prefix        = "${var.cluster_name}-agent-"
  assume_role_policy = module.agent.pod_identity_trust
}

resource "aws_iam_role_policy" "agent" {
  name   = "deregister-targets"
  role   = aws_iam_role.agent.id
  policy = module.agent.policy
}

resource "aws_eks_addon" "pod_identity_agent" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "eks-pod-identity-agent"
}

resource "aws_eks_pod_identity_association" "agent" {
  cluster_name    = aws_eks_cluster.this.name
  namespace       = module.agent.service_account.namespace
  service_account = module.agent.service_account.name
  role_arn        = aws_iam_role.agent.arn
}
