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

variable "vpc_cidr" {
  description = "Cut into eight ranges, of which six are used."
  type        = string
  default     = "10.0.0.0/16"
}

variable "public_access_cidrs" {
  description = "Who reaches the API server from outside the VPC."
  type        = list(string)
}
