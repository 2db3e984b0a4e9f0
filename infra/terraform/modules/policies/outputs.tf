output "policies" {
  description = "Role => what it may do."
  value = {
    for role in local.roles : role => jsonencode({ Version = "2012-10-17", Statement = local.statements[role] })
  }
}

output "trust" {
  description = "Role => who may take it. The operator's only where there are operators."
  value = merge(
    { for role in local.pods : role => jsonencode({
      Version   = "2012-10-17"
      Statement = [local.trust[var.pods.how][role]]
    }) },
    { for role in local.roles : role => jsonencode({
      Version   = "2012-10-17"
      Statement = [{ Effect = "Allow", Action = ["sts:AssumeRole"], Principal = { AWS = var.operators } }]
    }) if role == "operator" && length(var.operators) > 0 },
  )
}

output "service_accounts" {
  description = "Role => the service account of its pods."
  value       = local.service_accounts
}

output "redis_users" {
  description = "Role => the last part of the name of its Redis user. Who is not in it has none."
  value       = local.redis_users
}
