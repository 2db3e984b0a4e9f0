# What somebody has to look at, and that Jamak's own metrics cannot say when nothing of it runs.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "name" {
  type = string
}

variable "topic_arns" {
  description = "SNS topics that are told."
  type        = list(string)
}

variable "events_queue" {
  type = string
}

variable "dead_letters" {
  type = string
}

variable "slo_s" {
  description = "How old an event may get before somebody looks: JAMAK_SLO_S."
  type        = number
}

variable "redis_nodes" {
  description = "Namespace, and for each node what CloudWatch calls it."
  type        = object({ namespace = string, nodes = map(map(string)) })
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Events that could not be used: their attribute jamak-reason says why, and docs/ingest.md what to do."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = var.dead_letters }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "oldest_event" {
  alarm_name          = "${var.name}-oldest-event"
  alarm_description   = "An upload waits longer than JAMAK_SLO_S before it becomes a job: no listener runs, or the workers cannot keep up."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = var.events_queue }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.slo_s
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}

resource "aws_cloudwatch_metric_alarm" "redis_memory" {
  for_each            = var.redis_nodes.nodes
  alarm_name          = "${var.name}-redis-memory-${each.key}"
  alarm_description   = "Nothing is evicted: a Redis that is full takes no more jobs. Take a larger node_type, or look at what waits (jamak status)."
  namespace           = var.redis_nodes.namespace
  metric_name         = "DatabaseMemoryUsagePercentage"
  dimensions          = each.value
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 70
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.topic_arns
  ok_actions          = var.topic_arns
}
