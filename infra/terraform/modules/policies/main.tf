# What each role may do, as JSON. A table: who reads, writes and deletes which folder of the output
# (shared/bucket/keys.py names them), and what else he needs. It follows from the code, and a test
# runs the code with it.
# No provider: `terraform apply` here needs nothing and makes nothing.

terraform {
  required_version = ">= 1.9"
}

locals {
  # Who reads what in the output. A condition (If-Match) needs the right to read, too, and who writes
  # once (If-None-Match) looks at what is there when he is refused.
  reads = {
    listener  = []
    feeder    = ["backlogs/*", "costs/*", "probes/*"]
    captioner = ["records/*", "failures/*", "parts/*", "captions/*", "adapters/*", "probes/*"]
    trainer   = ["adapters/*", "training/*", "retraining/sets/*", "probes/*"]
    scaler    = ["backlogs/*"]
    retrainer = [
      "adapters/*/active.json", "adapters/*/manifest.json", "training/*", "records/*", "feedback/*",
      "retraining/*", "probes/*",
    ]
    watcher = [
      "adapters/*/active.json", "adapters/*/trials/*", "adapters/watcher.json", "feedback/*",
      "records/*", "probes/*",
    ]
    operator = [
      "records/*", "failures/*", "parts/*", "asked/*", "captions/*",
      "adapters/*", "training/*", "backlogs/*", "costs/*", "feedback/*", "retraining/*", "probes/*",
    ]
  }

  # What trains decides what all captions say from then on: adapters are the trainer's to write, and
  # operators may only choose between them, as the watcher of trials does, who cannot write what was
  # seen of one. Nobody but captioners writes a record.
  writes = {
    listener = []
    feeder   = ["backlogs/*/cursor.json", "probes/*"]
    captioner = [
      "records/*", "failures/*", "parts/*", "captions/*", "adapters/*/trials/*/*-*.json", "costs/*",
      "probes/*",
    ]
    trainer = ["adapters/*", "training/*", "costs/*", "probes/*"]
    scaler  = []
    # By which rules it trains is not its own to say.
    retrainer = [
      "retraining/*.json", "retraining/sets/*", "retraining/used/*", "training/*/asked.json", "probes/*",
    ]
    watcher = [
      "adapters/*/active.json", "adapters/*/trials/*/state.json", "adapters/watcher.json", "probes/*",
    ]
    operator = [
      "captions/*", "adapters/*/active.json", "adapters/*/judged.json", "adapters/*/judged.md",
      "adapters/*/judged.html", "adapters/policy.yaml", "asked/*", "training/*", "backlogs/*",
      "feedback/*", "retraining/*", "probes/*",
    ]
  }

  deletes = {
    listener  = []
    feeder    = []
    captioner = []
    trainer   = ["training/*/checkpoints/*"]
    scaler    = []
    retrainer = []
    watcher   = []
    operator  = ["failures/*", "asked/*", "adapters/*", "training/*/checkpoints/*", "backlogs/*"]
  }

  roles = keys(local.reads)

  # As infra/redis/users.acl has them. Who is not here needs none.
  redis_users = {
    listener  = "producer"
    feeder    = "producer"
    captioner = "worker"
    trainer   = "trainer"
    scaler    = "autoscaler"
    retrainer = "retrainer"
    operator  = "operator"
  }

  s3            = "arn:${var.partition}:s3:::"
  videos        = "${local.s3}${var.videos.bucket}/${var.videos.prefix}*"
  output        = "${local.s3}${var.output.bucket}/${var.output.prefix}"
  sqs           = "arn:${var.partition}:sqs:${var.region}:${var.account_id}"
  training_data = [for place in var.training_data : "${replace(place, "s3://", local.s3)}*"]
  more_reads    = [for place in var.operator_reads : "${replace(place, "s3://", local.s3)}*"]
  more_writes   = [for place in var.operator_writes : "${replace(place, "s3://", local.s3)}*"]

  # Objects outside the output that somebody reads.
  sources = {
    listener  = [local.videos]
    feeder    = []
    captioner = [local.videos]
    trainer   = concat([local.videos], local.training_data)
    scaler    = []
    retrainer = [local.videos]
    watcher   = []
    # Who exports goes on where an export stopped.
    operator = concat([local.videos], local.training_data, local.more_reads, local.more_writes)
  }
  # And writes: `jamak upload` and `jamak export`.
  targets = {
    listener  = []
    feeder    = []
    captioner = []
    trainer   = []
    scaler    = []
    retrainer = []
    watcher   = []
    operator  = concat([local.videos], local.more_writes)
  }

  # Without ListBucket S3 answers "denied" for a key that does not exist, and that no matter where
  # it lies: a condition on s3:prefix would take that away again.
  lists = {
    for role in local.roles : role => distinct(concat(
      [for object in concat(local.sources[role], local.targets[role]) : split("/", object)[0]],
      [for folder in concat(local.reads[role], local.writes[role]) : "${local.s3}${var.output.bucket}"],
    ))
  }

  written = { for role in local.roles : role => concat(
    [for folder in local.writes[role] : "${local.output}${folder}"], local.targets[role]
  ) }
  read = { for role in local.roles : role => concat(
    [for folder in local.reads[role] : "${local.output}${folder}"], local.sources[role]
  ) }

  results = var.results_arn
  tells   = { sns = "sns:Publish", events = "events:PutEvents" }

  connect = {
    elasticache = { action = "elasticache:Connect", cache = "replicationgroup:", user = "user:" }
    memorydb    = { action = "memorydb:Connect", cache = "cluster/", user = "user/" }
  }
  caches = var.broker == null ? "" : "arn:${var.partition}:${var.broker.kind}:${var.region}:${var.account_id}:"

  statements = { for role in local.roles : role => [
    for statement in [
      {
        Sid      = "List"
        Action   = ["s3:ListBucket"]
        Resource = local.lists[role]
      },
      {
        Sid      = "Read"
        Action   = ["s3:GetObject"]
        Resource = local.read[role]
      },
      {
        Sid = "ReadTheVersionOfTheJob"
        # A video that was overwritten is captioned as it was.
        Action   = ["s3:GetObjectVersion"]
        Resource = role == "captioner" ? [local.videos] : []
      },
      {
        Sid      = "Write"
        Action   = ["s3:PutObject"]
        Resource = local.written[role]
      },
      {
        Sid = "EndUploads"
        # What is uploaded in parts and fails leaves parts that cost.
        Action   = ["s3:AbortMultipartUpload"]
        Resource = local.targets[role]
      },
      {
        Sid      = "Delete"
        Action   = ["s3:DeleteObject"]
        Resource = [for folder in local.deletes[role] : "${local.output}${folder}"]
      },
      {
        Sid = "TakeEvents"
        # These are also the rights to do it in batches.
        Action = [
          "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes",
        ]
        Resource = role == "listener" ? ["${local.sqs}:${var.events_queue}"] : []
      },
      {
        Sid      = "Bury"
        Action   = ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
        Resource = role == "listener" ? ["${local.sqs}:${var.dead_letters}"] : []
      },
      {
        Sid = "LookAtEvents"
        # How many wait is how many workers are wanted; and `jamak doctor` asks whether it is there.
        Action   = ["sqs:GetQueueAttributes"]
        Resource = contains(["operator", "scaler"], role) ? ["${local.sqs}:${var.events_queue}"] : []
      },
      {
        Sid      = "LookAtDeadLetters"
        Action   = ["sqs:GetQueueUrl"]
        Resource = role == "operator" ? ["${local.sqs}:${var.dead_letters}"] : []
      },
      {
        Sid = "TellResults"
        # The feeder tells how jobs ended (docs/events.md).
        Action   = local.results == null ? [] : [local.tells[split(":", local.results)[2]]]
        Resource = role == "feeder" && local.results != null ? [local.results] : []
      },
      {
        Sid    = "ConnectToRedis"
        Action = var.broker == null ? [] : [local.connect[var.broker.kind].action]
        Resource = var.broker == null || !contains(keys(local.redis_users), role) ? [] : [
          "${local.caches}${local.connect[var.broker.kind].cache}${var.broker.name}",
          "${local.caches}${local.connect[var.broker.kind].user}${var.broker.users[local.redis_users[role]]}",
        ]
      },
      {
        Sid      = "Decrypt"
        Action   = ["kms:Decrypt"]
        Resource = var.kms_key_arn != null && length(local.read[role]) > 0 ? [var.kms_key_arn] : []
      },
      {
        Sid      = "Encrypt"
        Action   = ["kms:GenerateDataKey"]
        Resource = var.kms_key_arn != null && length(local.written[role]) > 0 ? [var.kms_key_arn] : []
      },
    ] : merge({ Effect = "Allow" }, statement) if length(statement.Resource) > 0
  ] }

  issuer = try(split("oidc-provider/", var.pods.oidc_provider_arn)[1], "")
  pods   = [for role in local.roles : role if role != "operator"]

  # Who gets the role: the pods of one service account, and no others.
  trust = {
    pod-identity = { for role in local.pods : role => {
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
      Condition = { StringEquals = {
        "aws:RequestTag/eks-cluster-name"           = var.pods.cluster
        "aws:RequestTag/kubernetes-namespace"       = var.pods.namespace
        "aws:RequestTag/kubernetes-service-account" = local.service_accounts[role]
      } }
    } }
    irsa = { for role in local.pods : role => {
      Effect    = "Allow"
      Action    = ["sts:AssumeRoleWithWebIdentity"]
      Principal = { Federated = var.pods.oidc_provider_arn }
      Condition = { StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "system:serviceaccount:${var.pods.namespace}:${local.service_accounts[role]}"
      } }
    } }
  }
  # As infra/kubernetes names them.
  service_accounts = { for role in local.pods : role => role }
}
