# What a deployment has once: the platform bucket, the queue of submission events, the rule that fills it, and the
# role of the runner.

locals {
  tags = merge(var.tags, {
    "mayfly:deployment" = var.deployment
    "mayfly:managed-by" = "mayfly"
  })

  # Composed, not asked for: a policy whose text is known when it is planned can be reviewed.
  sqs_prefix            = "arn:${var.partition}:sqs:${var.region}:${var.account}"
  queue_arn             = "${local.sqs_prefix}:${var.queue}"
  dead_letter_queue_arn = "${local.sqs_prefix}:${var.dead_letter_queue}"
  rule_arn              = "arn:${var.partition}:events:${var.region}:${var.account}:rule/${var.rule}"
  account_root          = "arn:${var.partition}:iam::${var.account}:root"
  platform_bucket_arn   = "arn:${var.partition}:s3:::${var.platform_bucket}"

  refuse_plain_http = {
    Sid       = "RefusePlainHttp"
    Effect    = "Deny"
    Principal = { AWS = ["*"] }
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }
}

resource "aws_s3_bucket" "platform" {
  bucket = var.platform_bucket
  tags   = local.tags
}

resource "aws_s3_bucket_versioning" "platform" {
  bucket = aws_s3_bucket.platform.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "platform" {
  bucket                  = aws_s3_bucket.platform.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "platform" {
  bucket = aws_s3_bucket.platform.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "platform" {
  bucket = aws_s3_bucket.platform.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "platform" {
  count  = var.lifecycle_rules ? 1 : 0
  bucket = aws_s3_bucket.platform.id

  rule {
    id     = "mayfly-leftovers"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  # Rules about earlier versions mean nothing before there are any.
  depends_on = [aws_s3_bucket_versioning.platform]
}

resource "aws_s3_bucket_policy" "platform" {
  count  = var.require_tls ? 1 : 0
  bucket = aws_s3_bucket.platform.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      merge(local.refuse_plain_http, {
        Action   = "s3:*"
        Resource = [local.platform_bucket_arn, "${local.platform_bucket_arn}/*"]
      })
    ]
  })

  # S3 refuses two changes of one bucket's access at the same moment.
  depends_on = [aws_s3_bucket_public_access_block.platform]
}

# One rule for the buckets of all analyses: AWS allows 300 rules on a bus, and analyses may be more.
resource "aws_cloudwatch_event_rule" "submissions" {
  name        = var.rule
  description = "Submissions of all analyses of ${var.deployment}"
  tags        = local.tags

  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created"]
    detail        = { object = { key = [for file in ["submit", "cancel"] : { wildcard = "*/submissions/*${file}.json" }] } }
  })
}

resource "aws_cloudwatch_event_target" "queue" {
  rule      = aws_cloudwatch_event_rule.submissions.name
  target_id = "queue"
  arn       = aws_sqs_queue.events.arn
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = var.dead_letter_queue
  message_retention_seconds = 1209600 # 14 days, the most SQS allows: time for a person to look
  sqs_managed_sse_enabled   = true
  tags                      = local.tags

  # No other queue may leave its dead letters here.
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [local.queue_arn]
  })

  # Never null: what the provider would fill in then could not be reviewed.
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = var.require_tls ? [merge(local.refuse_plain_http, { Action = "sqs:*", Resource = local.dead_letter_queue_arn })] : []
  })
}

resource "aws_sqs_queue" "events" {
  name                       = var.queue
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  tags                       = local.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = local.dead_letter_queue_arn
    maxReceiveCount     = 5
  })

  # Inline, because a policy resource of its own makes the provider wait another 25 s.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "EventsOfTheRule"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = local.queue_arn
        Condition = { ArnEquals = { "aws:SourceArn" = local.rule_arn } }
      }],
      var.require_tls ? [merge(local.refuse_plain_http, { Action = "sqs:*", Resource = local.queue_arn })] : [],
    )
  })

  # The dead-letter queue must exist when this one is made, but waiting for the provider to call it complete would
  # cost 25 s. It is asked for at the same moment as the bucket and the role, and those take longer.
  depends_on = [aws_s3_bucket.platform, aws_iam_role_policy.runner]
}

resource "aws_iam_role" "runner" {
  name                 = var.runner_role
  description          = "Watcher, worker and reaper of ${var.deployment}"
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = length(var.trust) > 0 ? var.trust : [local.account_root] }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "runner" {
  name   = "runner"
  role   = aws_iam_role.runner.name
  policy = var.runner_policy
}
