variable "name" {
  description = "What the names of all that is made begin with; another one for each Jamak of an account."
  type        = string
  default     = "jamak"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}$", var.name)) && !endswith(var.name, "-")
    error_message = "At most 25 lower case letters, digits and hyphens; the first one a letter."
  }
}

# Buckets

variable "videos_bucket" {
  description = "Of the videos."
  type        = string
}

variable "videos_bucket_exists" {
  description = "It is there already, and only its notification is set."
  type        = bool
  default     = false
}

variable "videos_prefix" {
  description = "How the keys of the videos begin: empty, or ending in `/`."
  type        = string
  default     = ""
  validation {
    condition     = var.videos_prefix == "" || endswith(var.videos_prefix, "/")
    error_message = "It names a whole folder: let it end in `/`, or leave it empty."
  }
}

variable "output_bucket" {
  description = "Where Jamak writes; it is made."
  type        = string
  validation {
    condition     = var.output_bucket != var.videos_bucket
    error_message = "The output gets a bucket of its own: its lifecycle rules would hold for the videos, too."
  }
}

variable "output_prefix" {
  description = "Empty, or ending in `/`."
  type        = string
  default     = ""
  validation {
    condition     = var.output_prefix == "" || endswith(var.output_prefix, "/")
    error_message = "It names a whole folder: let it end in `/`, or leave it empty."
  }
}

variable "kms_key_arn" {
  description = "The key of both buckets and of Redis; null: AWS's own keys."
  type        = string
  default     = null
}

variable "training_data" {
  description = "Where training data is besides the videos: `s3://bucket/prefix/`."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for place in var.training_data : can(regex("^s3://[^/]+/(.*/)?$", place))])
    error_message = "Write s3://bucket/ or s3://bucket/prefix/."
  }
}

variable "operator_reads" {
  description = "What operators read besides, inventories for example: `s3://bucket/prefix/`."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for place in var.operator_reads : can(regex("^s3://[^/]+/(.*/)?$", place))])
    error_message = "Write s3://bucket/ or s3://bucket/prefix/."
  }
}

variable "operator_writes" {
  description = "Where operators export to (`jamak export --to`): `s3://bucket/prefix/`."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for place in var.operator_writes : can(regex("^s3://[^/]+/(.*/)?$", place))])
    error_message = "Write s3://bucket/ or s3://bucket/prefix/."
  }
}

variable "results_arn" {
  description = "JAMAK_RESULTS: the SNS topic or EventBridge bus that is told how jobs ended; null: nobody is."
  type        = string
  default     = null
  validation {
    condition     = var.results_arn == null || can(regex("^arn:[^:]+:(sns|events):", var.results_arn))
    error_message = "Write the ARN of an SNS topic or of an EventBridge bus."
  }
}

# Uploads

variable "events" {
  description = "How uploads are told: `direct` (S3 writes to the queue), or `eventbridge` where several programs want them."
  type        = string
  default     = "direct"
  validation {
    condition     = contains(["direct", "eventbridge"], var.events)
    error_message = "Write direct or eventbridge."
  }
}

variable "notify" {
  description = "Set the notification of the videos' bucket. A bucket has one only: where somebody else's is there already, say false, and add to it what docs/aws.md shows."
  type        = bool
  default     = true
}

# Redis

variable "broker" {
  description = "`elasticache`, `memorydb`, or `none`: a Redis of yours, whose address you give to the processes."
  type        = string
  default     = "elasticache"
  validation {
    condition     = contains(["elasticache", "memorydb", "none"], var.broker)
    error_message = "Write elasticache, memorydb or none."
  }
}

variable "broker_node_type" {
  description = "null: the smallest that has room for a hundred thousand jobs that wait."
  type        = string
  default     = null
}

variable "broker_nodes" {
  description = "The primary and its replicas, each in another zone."
  type        = number
  default     = 2
  validation {
    condition     = var.broker_nodes >= 2
    error_message = "Without a replica a failure of the node loses what waits in it."
  }
}

variable "vpc_id" {
  description = "Where Redis is."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones, for Redis."
  type        = list(string)
  default     = []
  validation {
    condition     = var.broker == "none" || (length(var.subnet_ids) >= 2 && var.vpc_id != null)
    error_message = "Redis needs a vpc_id, and subnet_ids in two zones; or say broker = \"none\"."
  }
}

variable "client_security_group_ids" {
  description = "Who may connect to Redis: the security groups of the nodes or pods, and of operators."
  type        = list(string)
  default     = []
}

# Who gets the roles

variable "cluster_name" {
  description = "The EKS cluster. With it pods get their roles by Pod Identity, unless there is an oidc_provider_arn."
  type        = string
  default     = ""
}

variable "oidc_provider_arn" {
  description = "The cluster's OIDC provider: then pods get their roles by IRSA."
  type        = string
  default     = ""
  validation {
    condition     = var.oidc_provider_arn != "" || var.cluster_name != ""
    error_message = "Name the cluster (Pod Identity), or its OIDC provider (IRSA)."
  }
}

variable "operators" {
  description = "ARNs of those who may take the operator's role: people who run `jamak`. Without any there is none."
  type        = list(string)
  default     = []
}

# The rest

variable "interruption" {
  description = "A queue for Karpenter of what EC2 says before it takes a machine away."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  type        = list(string)
  default     = []
}

variable "slo_s" {
  description = "JAMAK_SLO_S: how old an event may get before there is an alarm."
  type        = number
  default     = 900
}
