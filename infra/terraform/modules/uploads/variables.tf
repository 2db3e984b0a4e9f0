variable "name" {
  type = string
}

variable "partition" {
  type = string
}

variable "account_id" {
  type = string
}

variable "bucket" {
  description = "Of the videos."
  type        = string
}

variable "prefix" {
  description = "How their keys begin."
  type        = string
}

variable "events" {
  description = "`direct`: S3 writes to the queue. `eventbridge`: for several programs that want the events."
  type        = string
}

variable "notify" {
  description = "false: the bucket's notification is somebody else's, who sends its events here."
  type        = bool
}
