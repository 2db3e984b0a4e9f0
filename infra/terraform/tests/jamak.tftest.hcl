# Against a provider that only pretends: `terraform init && terraform test`. What the policies say
# is looked at by tests/unit/test_policies.py, and put into force by tests/integration/test_rights.py.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "ap-northeast-2" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::pretended" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:ap-northeast-2:123456789012:pretended"
      url = "https://sqs.ap-northeast-2.amazonaws.com/123456789012/pretended"
    }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:ap-northeast-2:123456789012:rule/pretended" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/pretended" }
  }
  mock_resource "aws_elasticache_replication_group" {
    defaults = { primary_endpoint_address = "master.films.abc.apn2.cache.amazonaws.com" }
  }
  mock_resource "aws_memorydb_cluster" {
    defaults = {
      cluster_endpoint = [{ address = "clustercfg.films.abc.memorydb.ap-northeast-2.amazonaws.com", port = 6379 }]
    }
  }
}

variables {
  name                      = "films"
  videos_bucket             = "films"
  output_bucket             = "captions"
  vpc_id                    = "vpc-0"
  subnet_ids                = ["subnet-0", "subnet-1"]
  client_security_group_ids = ["sg-0"]
  cluster_name              = "cluster"
  alarm_topic_arns          = ["arn:aws:sns:ap-northeast-2:123456789012:alarms"]
}

run "a_bucket" {
  module {
    source = "./modules/bucket"
  }
  variables {
    name            = "captions"
    prefix          = "ko/"
    lifecycle_rules = jsondecode(file("../s3/lifecycle.json")).Rules
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
      aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled",
    ])
    error_message = "It is private, and keeps versions."
  }
  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Effect == "Deny" &&
      jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    )
    error_message = "Only TLS reaches it."
  }
  assert {
    condition = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : "${rule.filter[0].prefix} ${try(rule.expiration[0].days, "-")}"] == [
      "ko/parts/ 30", "ko/asked/ 30", "ko/failures/ 180", "ko/training/ 180", "ko/backlogs/ 365", "ko/costs/ 400", "ko/ 0",
    ]
    error_message = "The rules are those of infra/s3/lifecycle.json. No record and no caption goes by itself."
  }
}

run "s3_tells_of_uploads" {
  module {
    source = "./modules/uploads"
  }
  variables {
    partition  = "aws"
    account_id = "123456789012"
    bucket     = "films"
    prefix     = "in/"
    events     = "direct"
    notify     = true
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.events.redrive_policy).maxReceiveCount == 5 && aws_sqs_queue.events.visibility_timeout_seconds == 120
    error_message = "An event comes five times, and then goes to the dead letters (docs/ingest.md)."
  }
  assert {
    condition = { for one in jsondecode(aws_sqs_queue_policy.events.policy).Statement : one.Sid => one if one.Effect == "Allow" } == {
      FromUploads = {
        Sid       = "FromUploads"
        Effect    = "Allow"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.events.arn
        Principal = { Service = "s3.amazonaws.com" }
        Condition = {
          ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::films" }
          StringEquals = { "aws:SourceAccount" = "123456789012" }
        }
      }
    }
    error_message = "Only this bucket writes to the queue."
  }
  assert {
    condition = (
      toset(aws_s3_bucket_notification.uploads[0].queue[0].events) == toset(["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectRestore:Completed"]) &&
      aws_s3_bucket_notification.uploads[0].queue[0].filter_prefix == "in/"
    )
    error_message = "What is created, removed and restored under the prefix."
  }
}

run "eventbridge_tells_of_uploads" {
  module {
    source = "./modules/uploads"
  }
  variables {
    partition  = "aws"
    account_id = "123456789012"
    bucket     = "films"
    prefix     = "in/"
    events     = "eventbridge"
    notify     = true
  }
  assert {
    condition     = aws_s3_bucket_notification.uploads[0].eventbridge && length(aws_s3_bucket_notification.uploads[0].queue) == 0
    error_message = "The bucket tells EventBridge, and not the queue as well."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.uploads[0].event_pattern).detail == { bucket = { name = ["films"] }, object = { key = [{ prefix = "in/" }] } }
    error_message = "Only what lies under the prefix."
  }
  assert {
    condition = { for one in jsondecode(aws_sqs_queue_policy.events.policy).Statement : one.Principal.Service => one.Condition if one.Effect == "Allow" } == {
      "events.amazonaws.com" = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.uploads[0].arn } }
    }
    error_message = "Only the rule writes to the queue."
  }
}

run "elasticache" {
  module {
    source = "./modules/elasticache"
  }
  variables {
    users              = { worker = { name = "films-worker", access_string = "on ~jamak:* -@all +ping" } }
    node_type          = "cache.t4g.small"
    nodes              = 2
    security_group_ids = ["sg-0"]
    kms_key_arn        = null
  }
  assert {
    condition = alltrue([
      aws_elasticache_replication_group.this.num_cache_clusters == 2,
      aws_elasticache_replication_group.this.automatic_failover_enabled,
      aws_elasticache_replication_group.this.multi_az_enabled,
      aws_elasticache_replication_group.this.transit_encryption_enabled,
      aws_elasticache_replication_group.this.transit_encryption_mode == "required",
      tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled),
    ])
    error_message = "TLS and nothing else, and a replica in another zone that takes over."
  }
  assert {
    condition     = [for one in aws_elasticache_parameter_group.this.parameter : "${one.name} ${one.value}"] == ["maxmemory-policy noeviction"]
    error_message = "What lies there is work."
  }
  assert {
    condition     = [for one in aws_elasticache_user.this : one.user_id if one.user_id == one.user_name && one.authentication_mode[0].type == "iam"] == ["films-worker"]
    error_message = "Who a user is, IAM says."
  }
}

run "memorydb" {
  module {
    source = "./modules/memorydb"
  }
  variables {
    users              = { worker = { name = "films-worker", access_string = "on ~jamak:* -@all +ping" } }
    node_type          = "db.t4g.small"
    nodes              = 2
    security_group_ids = ["sg-0"]
    kms_key_arn        = null
  }
  assert {
    condition = alltrue([
      aws_memorydb_cluster.this.num_shards == 1,
      aws_memorydb_cluster.this.num_replicas_per_shard == 1,
      aws_memorydb_cluster.this.tls_enabled,
      aws_memorydb_cluster.this.acl_name == "films",
      [for one in aws_memorydb_user.this : one.authentication_mode[0].type] == ["iam"],
      [for one in aws_memorydb_parameter_group.this.parameter : "${one.name} ${one.value}"] == ["maxmemory-policy noeviction"],
    ])
    error_message = "One shard with a replica, TLS, noeviction, and users with tokens of IAM."
  }
}

run "alarms" {
  module {
    source = "./modules/alarms"
  }
  variables {
    topic_arns   = ["arn:aws:sns:ap-northeast-2:123456789012:alarms"]
    events_queue = "films-events"
    dead_letters = "films-events-dead"
    slo_s        = 600
    redis_nodes  = { namespace = "AWS/ElastiCache", nodes = { "001" = { CacheClusterId = "films-001" } } }
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.dead_letters.threshold == 0 && aws_cloudwatch_metric_alarm.dead_letters.dimensions == tomap({ QueueName = "films-events-dead" })
    error_message = "One dead letter is enough."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.oldest_event.threshold == 600 && aws_cloudwatch_metric_alarm.oldest_event.dimensions == tomap({ QueueName = "films-events" })
    error_message = "No event gets older than the SLO."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.redis_memory["001"].dimensions == tomap({ CacheClusterId = "films-001" })
    error_message = "Each node is watched."
  }
}

run "karpenter_is_told" {
  module {
    source = "./modules/interruption"
  }
  assert {
    condition     = toset([for one in aws_cloudwatch_event_rule.this : jsondecode(one.event_pattern).detail-type[0]]) == toset(["EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation", "EC2 Instance State-change Notification", "AWS Health Event"])
    error_message = "All four that Karpenter reads."
  }
  assert {
    condition     = alltrue([for one in aws_cloudwatch_event_target.this : one.arn == aws_sqs_queue.this.arn])
    error_message = "All of them go to the queue."
  }
}

run "all_of_it" {
  assert {
    condition     = toset(keys(output.roles)) == toset(["captioner", "feeder", "listener", "retrainer", "scaler", "trainer", "watcher"])
    error_message = "A role for each process; nobody named operators."
  }
  assert {
    condition     = strcontains(output.policies.captioner, "arn:aws:elasticache:ap-northeast-2:123456789012:user:films-worker")
    error_message = "A captioner connects to Redis as the worker's user."
  }
  assert {
    condition     = !strcontains(output.policies.watcher, "elasticache") && !contains(keys(output.env.watcher), "JAMAK_REDIS_URL")
    error_message = "A watcher needs no Redis."
  }
  assert {
    condition = output.env.listener == {
      AWS_DEFAULT_REGION      = "ap-northeast-2"
      JAMAK_EVENTS_QUEUE_URL  = "https://sqs.ap-northeast-2.amazonaws.com/123456789012/pretended"
      JAMAK_OUTPUT            = "s3://captions/"
      JAMAK_REDIS_CREDENTIALS = "elasticache/films"
      JAMAK_REDIS_URL         = "rediss://films-producer@master.films.abc.apn2.cache.amazonaws.com:6379/0"
      JAMAK_SLO_S             = "900"
      JAMAK_SOURCES           = "s3://films/"
    }
    error_message = "What the processes read."
  }
  assert {
    condition     = output.interruption_queue == "films-interruption"
    error_message = "A queue for Karpenter."
  }
}

run "a_bucket_of_yours_with_irsa_and_memorydb" {
  variables {
    videos_bucket_exists = true
    videos_prefix        = "in/"
    output_prefix        = "ko/"
    oidc_provider_arn    = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.ap-northeast-2.amazonaws.com/id/0123"
    operators            = ["arn:aws:iam::123456789012:role/people"]
    broker               = "memorydb"
  }
  assert {
    condition     = length(module.videos) == 0 && output.env.listener.JAMAK_SOURCES == "s3://films/in/"
    error_message = "It is there already."
  }
  assert {
    condition     = jsondecode(module.policies.trust.trainer).Statement[0].Condition.StringEquals["oidc.eks.ap-northeast-2.amazonaws.com/id/0123:sub"] == "system:serviceaccount:jamak:trainer"
    error_message = "The pods of one service account, and no others."
  }
  assert {
    condition     = contains(keys(output.roles), "operator")
    error_message = "Somebody may be the operator."
  }
  assert {
    condition     = output.env.trainer.JAMAK_REDIS_URL == "rediss+cluster://films-trainer@clustercfg.films.abc.memorydb.ap-northeast-2.amazonaws.com:6379" && output.env.trainer.JAMAK_REDIS_CREDENTIALS == "memorydb/films"
    error_message = "MemoryDB speaks as a cluster."
  }
  assert {
    condition     = length(yamldecode(output.kustomization).patches) == 7
    error_message = "With IRSA each service account names its role."
  }
}

run "a_redis_of_yours" {
  variables {
    broker       = "none"
    vpc_id       = null
    subnet_ids   = []
    interruption = false
  }
  assert {
    condition     = !contains(keys(output.env.feeder), "JAMAK_REDIS_URL") && length(yamldecode(output.kustomization).secretGenerator) == 0
    error_message = "Its address is yours to give: it has a password in it."
  }
  assert {
    condition     = !strcontains(join("", values(output.policies)), "Connect")
    error_message = "No tokens of IAM."
  }
  assert {
    condition     = output.interruption_queue == null
    error_message = "No queue for Karpenter."
  }
}

run "what_cannot_be_right_is_refused" {
  command = plan
  variables {
    output_bucket = "films"
    videos_prefix = "in"
    broker        = "redis"
    broker_nodes  = 1
    training_data = ["sets/"]
    events        = "sns"
  }
  expect_failures = [
    var.output_bucket, var.videos_prefix, var.broker, var.broker_nodes, var.training_data, var.events,
  ]
}
