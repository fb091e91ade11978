variable "region" {
  type    = string
  default = "eu-west-1"
}

variable "cluster_name" {
  type    = string
  default = "fargate-lab"
}

variable "kubernetes_version" {
  type    = string
  default = "1.34"
}

variable "private_subnet_ids" {
  description = "Subnets of two zones or more, with a way out and none in: Fargate takes no others."
  type        = list(string)
}

variable "public_access_cidrs" {
  description = "Who reaches the API server from outside the VPC."
  type        = list(string)
}
