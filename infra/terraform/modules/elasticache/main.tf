# Valkey on ElastiCache: one shard (cluster mode off), a replica in another zone, TLS, a user for
# each role, and nothing is ever evicted. Passwords are tokens of IAM.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

resource "aws_elasticache_user" "this" {
  for_each = var.users
  # With tokens of IAM the two have to be the same.
  user_id       = each.value.name
  user_name     = each.value.name
  access_string = each.value.access_string
  engine        = "valkey"
  authentication_mode {
    type = "iam"
  }
}

resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "valkey"
  user_ids      = [for user in aws_elasticache_user.this : user.user_id]
}

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name   = var.name
  family = "valkey8"
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction" # what lies there is work
  }
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "Jamak's queues"
  engine               = "valkey"
  engine_version       = "8.1"
  node_type            = var.node_type
  parameter_group_name = aws_elasticache_parameter_group.this.name
  port                 = 6379

  num_cache_clusters         = var.nodes
  automatic_failover_enabled = true
  multi_az_enabled           = true

  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = var.security_group_ids
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  user_group_ids             = [aws_elasticache_user_group.this.user_group_id]

  snapshot_retention_limit = 1
  apply_immediately        = true
}

output "endpoint" {
  description = "It follows the primary."
  value       = "${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
}
