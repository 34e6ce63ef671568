# The home of one analysis: a bucket with one prefix per group, whose uploads become events.

locals {
  tags = merge(var.tags, {
    "mayfly:deployment" = var.deployment
    "mayfly:managed-by" = "mayfly"
    "mayfly:analysis"   = var.analysis
    "mayfly:version"    = var.version_id
  })

  # Composed, not asked for: a policy whose text is known when it is planned can be reviewed.
  bucket_arn = "arn:${var.partition}:s3:::${var.bucket}"

  bucket_statements = concat(
    var.require_tls ? [{
      Sid       = "RefusePlainHttp"
      Effect    = "Deny"
      Principal = { AWS = ["*"] }
      Action    = ["s3:*"]
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }] : [],
    length(var.runner_roles) > 0 ? [{
      Sid       = "ListForTheRunner"
      Effect    = "Allow"
      Principal = { AWS = sort(var.runner_roles) }
      Action    = ["s3:ListBucket", "s3:ListBucketVersions"]
      Resource  = [local.bucket_arn]
    }] : [],
    length(var.runner_roles) > 0 ? [{
      Sid       = "ObjectsForTheRunner"
      Effect    = "Allow"
      Principal = { AWS = sort(var.runner_roles) }
      Action    = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
      Resource  = ["${local.bucket_arn}/*"]
    }] : [],
  )
}

resource "aws_s3_bucket" "data" {
  bucket        = var.bucket
  force_destroy = var.purge
  tags          = local.tags
}

resource "aws_s3_bucket_versioning" "data" {
  bucket = aws_s3_bucket.data.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "data" {
  bucket                  = aws_s3_bucket.data.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "data" {
  bucket = aws_s3_bucket.data.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "data" {
  bucket = aws_s3_bucket.data.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# To the default bus, where the platform's one rule picks the submissions.
resource "aws_s3_bucket_notification" "data" {
  bucket      = aws_s3_bucket.data.id
  eventbridge = true
}

# Web pages sign their uploads and downloads themselves; a browser lets only these pages do so.
resource "aws_s3_bucket_cors_configuration" "data" {
  count  = length(var.cors_origins) > 0 ? 1 : 0
  bucket = aws_s3_bucket.data.id

  cors_rule {
    allowed_origins = var.cors_origins
    allowed_methods = ["DELETE", "GET", "HEAD", "POST", "PUT"]
    allowed_headers = ["*"]
    expose_headers  = ["ETag", "x-amz-version-id", "x-amz-checksum-sha256"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  count  = var.lifecycle_rules ? 1 : 0
  bucket = aws_s3_bucket.data.id

  rule {
    id     = "mayfly-leftovers"
    status = "Enabled"

    filter {}

    # An upload that broke off is invisible and billed.
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    # What was overwritten or deleted can be had back for a while.
    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  dynamic "rule" {
    for_each = var.retention

    content {
      id     = rule.key
      status = "Enabled"

      filter {
        prefix = rule.value.prefix
      }

      dynamic "transition" {
        for_each = rule.value.archive_class == null ? [] : [rule.value.archive_days]

        content {
          days          = transition.value
          storage_class = rule.value.archive_class
        }
      }

      dynamic "expiration" {
        for_each = rule.value.expire_days == null ? [] : [rule.value.expire_days]

        content {
          days = expiration.value
        }
      }
    }
  }

  # Rules about earlier versions mean nothing before there are any.
  depends_on = [aws_s3_bucket_versioning.data]
}

# The runner is admitted here and not by a policy of its own: so it reaches exactly the buckets of its deployment,
# however many these are, and a new analysis changes no root but its own.
resource "aws_s3_bucket_policy" "data" {
  count  = length(local.bucket_statements) > 0 ? 1 : 0
  bucket = aws_s3_bucket.data.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = local.bucket_statements
  })

  # S3 refuses two changes of one bucket's access at the same moment.
  depends_on = [aws_s3_bucket_public_access_block.data]
}
