# From an upload to the queue that `jamak listen` reads: S3's notifications, or EventBridge. What
# cannot be used goes to the dead letters.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

locals {
  direct = var.events == "direct"
  sender = local.direct ? "s3.amazonaws.com" : "events.amazonaws.com"
  source = local.direct ? "arn:${var.partition}:s3:::${var.bucket}" : one(aws_cloudwatch_event_rule.uploads[*].arn)
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-events-dead"
  message_retention_seconds = 1209600 # longer than in the queue: the clock goes on when SQS moves a message
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "events" {
  name                       = "${var.name}-events"
  visibility_timeout_seconds = 120
  message_retention_seconds  = 604800
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.events.arn]
  })
}

locals {
  # The bucket, or the rule, may write, and nothing else. The name of a bucket has no account in it,
  # so that somebody else's could come by it.
  sends = {
    Sid       = "FromUploads"
    Effect    = "Allow"
    Principal = { Service = local.sender }
    Action    = "sqs:SendMessage"
    Condition = merge(
      { ArnEquals = { "aws:SourceArn" = local.source } },
      local.direct ? { StringEquals = { "aws:SourceAccount" = var.account_id } } : {},
    )
  }
  tls = {
    Sid       = "OnlyOverTLS"
    Effect    = "Deny"
    Principal = { AWS = "*" }
    Action    = "sqs:*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      merge(local.sends, { Resource = aws_sqs_queue.events.arn }),
      merge(local.tls, { Resource = aws_sqs_queue.events.arn }),
    ]
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy = jsonencode({
    Version = "2012-10-17"
    # What EventBridge cannot deliver is told from what it can.
    Statement = concat(
      local.direct ? [] : [merge(local.sends, { Resource = aws_sqs_queue.dead_letters.arn })],
      [merge(local.tls, { Resource = aws_sqs_queue.dead_letters.arn })],
    )
  })
}

resource "aws_s3_bucket_notification" "uploads" {
  count       = var.notify ? 1 : 0
  bucket      = var.bucket
  eventbridge = !local.direct
  dynamic "queue" {
    for_each = local.direct ? [aws_sqs_queue.events.arn] : []
    content {
      id            = var.name
      queue_arn     = queue.value
      events        = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectRestore:Completed"]
      filter_prefix = var.prefix
    }
  }
  # S3 sends a test message first, and is refused without.
  depends_on = [aws_sqs_queue_policy.events]
}

resource "aws_cloudwatch_event_rule" "uploads" {
  count       = local.direct ? 0 : 1
  name        = "${var.name}-uploads"
  description = "Uploads to s3://${var.bucket}/${var.prefix}"
  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created", "Object Deleted", "Object Restore Completed"]
    detail = {
      bucket = { name = [var.bucket] }
      object = { key = [{ prefix = var.prefix }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "uploads" {
  count = local.direct ? 0 : 1
  rule  = aws_cloudwatch_event_rule.uploads[0].name
  arn   = aws_sqs_queue.events.arn
  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}
