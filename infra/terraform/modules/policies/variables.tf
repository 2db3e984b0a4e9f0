variable "partition" {
  description = "`aws`, `aws-cn` or `aws-us-gov`."
  type        = string
  default     = "aws"
}

variable "region" {
  type = string
}

variable "account_id" {
  type = string
}

variable "videos" {
  description = "Where the videos are: a bucket, and how their keys begin (empty, or ending in `/`)."
  type        = object({ bucket = string, prefix = string })
}

variable "output" {
  description = "Where Jamak writes, as JAMAK_OUTPUT says it."
  type        = object({ bucket = string, prefix = string })
}

variable "events_queue" {
  description = "Name of the queue of the uploads' events."
  type        = string
}

variable "dead_letters" {
  description = "Name of its dead-letter queue."
  type        = string
}

variable "broker" {
  description = "The cache that tokens of IAM let into; null: Redis has passwords, or is elsewhere."
  type        = object({ kind = string, name = string, users = map(string) })
  default     = null
}

variable "kms_key_arn" {
  description = "The key of both buckets; null: S3's own."
  type        = string
  default     = null
}

variable "training_data" {
  description = "Where training data is besides the videos: `s3://bucket/prefix/`."
  type        = list(string)
  default     = []
}

variable "operator_reads" {
  description = "What operators read besides: inventories."
  type        = list(string)
  default     = []
}

variable "operator_writes" {
  description = "Where operators export to."
  type        = list(string)
  default     = []
}

variable "results_arn" {
  description = "The SNS topic or EventBridge bus that is told how jobs ended; null: nobody is."
  type        = string
  default     = null
}

variable "pods" {
  description = "By what a pod gets its role: `pod-identity` of a cluster, or `irsa` with an OIDC provider."
  type = object({
    how               = string
    cluster           = optional(string, "")
    oidc_provider_arn = optional(string, "")
    namespace         = string
  })
}

variable "operators" {
  description = "ARNs of those who may take the operator's role."
  type        = list(string)
  default     = []
}
