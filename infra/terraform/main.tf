# All of AWS that Jamak needs but the cluster: buckets, the queue of uploads, Redis, a role for each
# process, spot interruptions and alarms. An example to start from, and a whole; docs/aws.md tells how.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition  = data.aws_partition.current.partition
  account_id = data.aws_caller_identity.current.account_id
  region     = data.aws_region.current.name
  irsa       = var.oidc_provider_arn != ""

  # Of the pods. KEDA and Prometheus ask in it by name: infra/kubernetes, infra/prometheus.
  namespace = "jamak"

  lifecycle_rules = jsondecode(file("${path.module}/../s3/lifecycle.json")).Rules
}

module "videos" {
  count       = var.videos_bucket_exists ? 0 : 1
  source      = "./modules/bucket"
  name        = var.videos_bucket
  kms_key_arn = var.kms_key_arn
  # Of the videos nothing is deleted but what was replaced.
  lifecycle_rules = [for rule in local.lifecycle_rules : rule if rule.Filter.Prefix == ""]
}

module "output" {
  source          = "./modules/bucket"
  name            = var.output_bucket
  kms_key_arn     = var.kms_key_arn
  lifecycle_rules = local.lifecycle_rules
  prefix          = var.output_prefix
}

module "uploads" {
  source     = "./modules/uploads"
  name       = var.name
  partition  = local.partition
  account_id = local.account_id
  bucket     = var.videos_bucket_exists ? var.videos_bucket : module.videos[0].name
  prefix     = var.videos_prefix
  events     = var.events
  notify     = var.notify
}

module "acl" {
  source = "./modules/acl"
  name   = var.name
}

resource "aws_security_group" "redis" {
  count       = var.broker == "none" ? 0 : 1
  name        = "${var.name}-redis"
  description = "Jamak's Redis"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  # By number: the groups may be made in the same run, and their ids are not known before.
  count                        = var.broker == "none" ? 0 : length(var.client_security_group_ids)
  security_group_id            = aws_security_group.redis[0].id
  referenced_security_group_id = var.client_security_group_ids[count.index]
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

module "elasticache" {
  count              = var.broker == "elasticache" ? 1 : 0
  source             = "./modules/elasticache"
  name               = var.name
  users              = module.acl.users
  node_type          = coalesce(var.broker_node_type, "cache.t4g.small")
  nodes              = var.broker_nodes
  subnet_ids         = var.subnet_ids
  security_group_ids = aws_security_group.redis[*].id
  kms_key_arn        = var.kms_key_arn
}

module "memorydb" {
  count              = var.broker == "memorydb" ? 1 : 0
  source             = "./modules/memorydb"
  name               = var.name
  users              = module.acl.users
  node_type          = coalesce(var.broker_node_type, "db.t4g.small")
  nodes              = var.broker_nodes
  subnet_ids         = var.subnet_ids
  security_group_ids = aws_security_group.redis[*].id
  kms_key_arn        = var.kms_key_arn
}

module "policies" {
  source       = "./modules/policies"
  partition    = local.partition
  region       = local.region
  account_id   = local.account_id
  videos       = { bucket = var.videos_bucket, prefix = var.videos_prefix }
  output       = { bucket = var.output_bucket, prefix = var.output_prefix }
  events_queue = module.uploads.queue.name
  dead_letters = module.uploads.dead_letters.name
  broker = var.broker == "none" ? null : {
    kind  = var.broker
    name  = var.name
    users = { for who, user in module.acl.users : who => user.name }
  }
  kms_key_arn     = var.kms_key_arn
  training_data   = var.training_data
  operator_reads  = var.operator_reads
  operator_writes = var.operator_writes
  results_arn     = var.results_arn
  operators       = var.operators
  pods = {
    how               = local.irsa ? "irsa" : "pod-identity"
    cluster           = var.cluster_name
    oidc_provider_arn = var.oidc_provider_arn
    namespace         = local.namespace
  }
}

module "roles" {
  source           = "./modules/roles"
  name             = var.name
  policies         = module.policies.policies
  trust            = module.policies.trust
  service_accounts = module.policies.service_accounts
  pod_identity     = local.irsa ? null : { cluster = var.cluster_name, namespace = local.namespace }
}

module "interruption" {
  count  = var.interruption ? 1 : 0
  source = "./modules/interruption"
  name   = var.name
}

module "alarms" {
  source       = "./modules/alarms"
  name         = var.name
  topic_arns   = var.alarm_topic_arns
  events_queue = module.uploads.queue.name
  dead_letters = module.uploads.dead_letters.name
  slo_s        = var.slo_s
  redis_nodes = {
    namespace = var.broker == "memorydb" ? "AWS/MemoryDB" : "AWS/ElastiCache"
    nodes = var.broker == "none" ? {} : { for number in range(1, var.broker_nodes + 1) :
      format("%03d", number) => var.broker == "memorydb" ? {
        ClusterName = var.name
        NodeName    = format("%s-0001-%03d", var.name, number)
        } : {
        CacheClusterId = format("%s-%03d", var.name, number)
      }
    }
  }
}
