output "kubeconfig" {
  description = "The command that writes one."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}
