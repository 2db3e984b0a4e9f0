# Valkey on MemoryDB: the same users and the same tokens, and a log that a failover loses nothing of.
# It always speaks as a cluster does, here of one shard.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

resource "aws_memorydb_user" "this" {
  for_each      = var.users
  user_name     = each.value.name
  access_string = each.value.access_string
  authentication_mode {
    type = "iam"
  }
}

resource "aws_memorydb_acl" "this" {
  name       = var.name
  user_names = [for user in aws_memorydb_user.this : user.user_name]
}

resource "aws_memorydb_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_memorydb_parameter_group" "this" {
  name   = var.name
  family = "memorydb_valkey7"
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction" # what lies there is work
  }
}

resource "aws_memorydb_cluster" "this" {
  name                   = var.name
  description            = "Jamak's queues"
  engine                 = "valkey"
  engine_version         = "7.2"
  node_type              = var.node_type
  parameter_group_name   = aws_memorydb_parameter_group.this.name
  acl_name               = aws_memorydb_acl.this.name
  port                   = 6379
  num_shards             = 1
  num_replicas_per_shard = var.nodes - 1

  subnet_group_name        = aws_memorydb_subnet_group.this.name
  security_group_ids       = var.security_group_ids
  tls_enabled              = true
  kms_key_arn              = var.kms_key_arn
  snapshot_retention_limit = 1
}

output "endpoint" {
  description = "It names the nodes."
  value       = "${aws_memorydb_cluster.this.cluster_endpoint[0].address}:6379"
}
