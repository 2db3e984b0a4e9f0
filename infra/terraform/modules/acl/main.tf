# The users of infra/redis/users.acl, as ElastiCache and MemoryDB want them: who, and what he may do.
# No provider: `terraform apply` here needs nothing and makes nothing.

terraform {
  required_version = ">= 1.9"
}

variable "name" {
  description = "What the users' names begin with: `jamak` leaves them as they are in the file."
  type        = string
  default     = "jamak"
}

locals {
  lines = split("\n", trimspace(file("${path.module}/../../../redis/users.acl")))
  # The password stays behind: who a user is, is for IAM to say.
  parts = [for line in local.lines : regex("^user jamak-(\\S+) on >\\S+ (.*)$", line) if startswith(line, "user jamak-")]
}

output "users" {
  description = "The last part of a user's name => name and access string."
  value = {
    for part in local.parts : part[0] => {
      name          = "${var.name}-${part[0]}"
      access_string = "on ${part[1]}"
    }
  }
}
