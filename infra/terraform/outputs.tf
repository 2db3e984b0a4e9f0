locals {
  endpoint = one(concat(module.elasticache[*].endpoint, module.memorydb[*].endpoint))
  scheme   = var.broker == "memorydb" ? "rediss+cluster" : "rediss"
  database = var.broker == "memorydb" ? "" : "/0"

  # No secret among them: who a process is at Redis follows from its role in IAM.
  shared = merge(
    {
      AWS_DEFAULT_REGION     = local.region
      JAMAK_OUTPUT           = "s3://${module.output.name}/${var.output_prefix}"
      JAMAK_SOURCES          = "s3://${var.videos_bucket}/${var.videos_prefix}"
      JAMAK_EVENTS_QUEUE_URL = module.uploads.queue.url
      JAMAK_SLO_S            = tostring(var.slo_s)
    },
    var.results_arn == null ? {} : { JAMAK_RESULTS = var.results_arn },
    var.broker == "none" ? {} : { JAMAK_REDIS_CREDENTIALS = "${var.broker}/${var.name}" },
  )
  redis_urls = var.broker == "none" ? {} : {
    for who, user in module.acl.users : who => "${local.scheme}://${user.name}@${local.endpoint}${local.database}"
  }
  redis_users_of_pods = distinct([
    for role, user in module.policies.redis_users : user if contains(keys(module.policies.service_accounts), role)
  ])
  env = { for role in keys(module.policies.policies) : role => merge(
    local.shared,
    { for who, user in module.policies.redis_users : "JAMAK_REDIS_URL" => local.redis_urls[user] if who == role && var.broker != "none" },
  ) }
}

module "kustomize" {
  source     = "./modules/kustomize"
  namespace  = local.namespace
  settings   = local.shared
  redis_urls = { for user, url in local.redis_urls : user => url if contains(local.redis_users_of_pods, user) }
  role_arns = {
    for role, account in module.policies.service_accounts : account => module.roles.arns[role] if local.irsa
  }
}

output "kustomization" {
  description = "A component for infra/kubernetes: `terraform output -raw kustomization > aws/kustomization.yaml`."
  value       = module.kustomize.component
}

output "env" {
  description = "Role => the variables of its processes."
  value       = local.env
}

output "redis_users" {
  description = "Role => the last part of the name of its user in infra/redis/users.acl, for those who have one."
  value       = module.policies.redis_users
}

output "roles" {
  description = "Role => ARN."
  value       = module.roles.arns
}

output "policies" {
  description = "Role => what it may do, as JSON: for machines that get their roles in another way."
  value       = module.policies.policies
}

output "interruption_queue" {
  description = "For Karpenter's `settings.interruptionQueue`; null: there is none."
  value       = one(module.interruption[*].queue)
}

output "interruption_policy" {
  description = "What the role of Karpenter needs on that queue, as JSON."
  value       = one(module.interruption[*].policy)
}

output "dead_letters_url" {
  value = module.uploads.dead_letters.url
}
