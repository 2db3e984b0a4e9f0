# A role for each process, and one for people: what it may do, and who gets it.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "name" {
  type = string
}

variable "policies" {
  description = "Role => what it may do, as JSON."
  type        = map(string)
}

variable "trust" {
  description = "Role => who may take it, as JSON."
  type        = map(string)
}

variable "pod_identity" {
  description = "The cluster and namespace that give roles to service accounts; null: they do it by annotation."
  type        = object({ cluster = string, namespace = string })
}

variable "service_accounts" {
  description = "Role => service account."
  type        = map(string)
}

resource "aws_iam_role" "this" {
  for_each           = var.trust
  name               = "${var.name}-${each.key}"
  description        = "Jamak: ${each.key}"
  assume_role_policy = each.value
}

resource "aws_iam_role_policy" "this" {
  for_each = aws_iam_role.this
  name     = each.key
  role     = each.value.id
  policy   = var.policies[each.key]
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = var.pod_identity == null ? {} : var.service_accounts
  cluster_name    = var.pod_identity.cluster
  namespace       = var.pod_identity.namespace
  service_account = each.value
  role_arn        = aws_iam_role.this[each.key].arn
}

output "arns" {
  description = "Role => its ARN."
  value       = { for role, made in aws_iam_role.this : role => made.arn }
}
