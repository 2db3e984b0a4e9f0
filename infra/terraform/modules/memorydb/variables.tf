variable "name" {
  type = string
}

variable "users" {
  description = "Name and access string of each user."
  type        = map(object({ name = string, access_string = string }))
}

variable "node_type" {
  type = string
}

variable "nodes" {
  description = "The primary and its replicas."
  type        = number
}

variable "subnet_ids" {
  type = list(string)
}

variable "security_group_ids" {
  type = list(string)
}

variable "kms_key_arn" {
  type = string
}
