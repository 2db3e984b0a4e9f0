# A component for infra/kubernetes: what its pods have to know of AWS, and nothing that is secret.
# No provider: `terraform apply` here needs nothing and makes nothing.

terraform {
  required_version = ">= 1.9"
}

variable "namespace" {
  type = string
}

variable "settings" {
  description = "Variables that all pods have."
  type        = map(string)
}

variable "redis_urls" {
  description = "The last part of a Redis user's name => address. Empty: others make these secrets."
  type        = map(string)
}

variable "role_arns" {
  description = "Service account => its role, with IRSA. Empty with Pod Identity, which needs nothing here."
  type        = map(string)
}

output "component" {
  value = yamlencode({
    apiVersion = "kustomize.config.k8s.io/v1alpha1"
    kind       = "Component"
    configMapGenerator = [{
      name      = "settings"
      namespace = var.namespace
      behavior  = "merge"
      literals  = [for variable, value in var.settings : "${variable}=${value}"]
    }]
    # Where others have a password in it, it is one.
    secretGenerator = [for user, url in var.redis_urls : {
      name      = "jamak-redis-${user}"
      namespace = var.namespace
      literals  = ["url=${url}"]
      options   = { disableNameSuffixHash = true }
    }]
    patches = [for account, arn in var.role_arns : {
      target = { kind = "ServiceAccount", name = account }
      patch = yamlencode([
        { op = "add", path = "/metadata/annotations", value = { "eks.amazonaws.com/role-arn" = arn } },
      ])
    }]
  })
}
