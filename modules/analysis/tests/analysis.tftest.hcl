mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = {
      arn = "arn:aws:s3:::demo-pca"
    }
  }
}

variables {
  deployment = "demo"
  analysis   = "pca"
  bucket     = "demo-pca"
  version_id = "0123456789abcdef"
  tags       = { lab = "one", "mayfly:analysis" = "forged" }
}

run "a_bucket_that_keeps_and_hides_what_it_holds" {
  command = apply

  assert {
    condition     = aws_s3_bucket.data.bucket == "demo-pca" && aws_s3_bucket_versioning.data.versioning_configuration[0].status == "Enabled"
    error_message = "The bucket keeps earlier versions of what is overwritten."
  }

  assert {
    condition = (
      aws_s3_bucket_public_access_block.data.block_public_acls &&
      aws_s3_bucket_public_access_block.data.block_public_policy &&
      aws_s3_bucket_public_access_block.data.ignore_public_acls &&
      aws_s3_bucket_public_access_block.data.restrict_public_buckets
    )
    error_message = "Nothing in the bucket can be made public."
  }

  assert {
    condition     = one(aws_s3_bucket_ownership_controls.data.rule).object_ownership == "BucketOwnerEnforced"
    error_message = "Access is a matter of policies only, never of object ACLs."
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.data.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "What lies in the bucket is encrypted."
  }

  assert {
    condition     = aws_s3_bucket_notification.data.eventbridge
    error_message = "Uploads become events."
  }

  assert {
    condition     = !aws_s3_bucket.data.force_destroy
    error_message = "Users' data is not deleted with the bucket."
  }

  assert {
    condition = aws_s3_bucket.data.tags == tomap({
      lab                 = "one"
      "mayfly:deployment" = "demo"
      "mayfly:managed-by" = "mayfly"
      "mayfly:analysis"   = "pca"
      "mayfly:version"    = "0123456789abcdef"
    })
    error_message = "The bucket says whose it is, and a deployment's tags cannot forge that."
  }

  assert {
    condition     = output.bucket == "demo-pca" && output.bucket_arn == "arn:aws:s3:::demo-pca"
    error_message = "The bucket is told."
  }
}

run "plain_http_is_refused" {
  command = apply

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[0].Effect == "Deny" &&
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false" &&
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[0].Resource == ["arn:aws:s3:::demo-pca", "arn:aws:s3:::demo-pca/*"]
    )
    error_message = "The bucket and all that is in it are closed to plain HTTP."
  }
}

run "an_emulator_may_speak_plain_http" {
  command = plan

  variables {
    require_tls = false
  }

  assert {
    condition     = length(aws_s3_bucket_policy.data) == 0
    error_message = "Without require_tls there is no policy."
  }
}

run "purging_is_asked_for" {
  command = plan

  variables {
    purge = true
  }

  assert {
    condition     = aws_s3_bucket.data.force_destroy
    error_message = "Purge deletes data with the bucket."
  }
}

run "the_runner_is_admitted_to_this_bucket" {
  command = plan

  variables {
    runner_roles = ["arn:aws:iam::123456789012:role/demo-runner"]
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[1].Principal.AWS == ["arn:aws:iam::123456789012:role/demo-runner"] &&
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[1].Action == ["s3:ListBucket", "s3:ListBucketVersions"] &&
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[1].Resource == ["arn:aws:s3:::demo-pca"] &&
      jsondecode(aws_s3_bucket_policy.data[0].policy).Statement[2].Resource == ["arn:aws:s3:::demo-pca/*"]
    )
    error_message = "One role, one bucket."
  }
}

run "the_bucket_tidies_itself" {
  command = plan

  variables {
    retention = {
      lab1-inputs  = { prefix = "lab1/inputs/", expire_days = 30 }
      lab1-results = { prefix = "lab1/results/", expire_days = 400, archive_class = "GLACIER_IR", archive_days = 90 }
    }
  }

  assert {
    condition = (
      aws_s3_bucket_lifecycle_configuration.data[0].rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 7 &&
      aws_s3_bucket_lifecycle_configuration.data[0].rule[0].noncurrent_version_expiration[0].noncurrent_days == 30 &&
      aws_s3_bucket_lifecycle_configuration.data[0].rule[0].expiration[0].expired_object_delete_marker
    )
    error_message = "Broken uploads and old versions go by themselves."
  }

  assert {
    condition = (
      aws_s3_bucket_lifecycle_configuration.data[0].rule[1].id == "lab1-inputs" &&
      aws_s3_bucket_lifecycle_configuration.data[0].rule[1].filter[0].prefix == "lab1/inputs/" &&
      aws_s3_bucket_lifecycle_configuration.data[0].rule[1].expiration[0].days == 30 &&
      length(aws_s3_bucket_lifecycle_configuration.data[0].rule[1].transition) == 0 &&
      aws_s3_bucket_lifecycle_configuration.data[0].rule[2].expiration[0].days == 400 &&
      one(aws_s3_bucket_lifecycle_configuration.data[0].rule[2].transition).days == 90 &&
      one(aws_s3_bucket_lifecycle_configuration.data[0].rule[2].transition).storage_class == "GLACIER_IR"
    )
    error_message = "Retention is what the blueprint and the groups say."
  }
}

run "only_the_pages_named_may_call" {
  command = plan

  variables {
    cors_origins    = ["https://mayfly.example"]
    lifecycle_rules = false
  }

  assert {
    condition     = one(aws_s3_bucket_cors_configuration.data[0].cors_rule).allowed_origins == toset(["https://mayfly.example"])
    error_message = "Exactly the origins given."
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.data) == 0
    error_message = "An emulator is spared the lifecycle rules."
  }
}

run "no_page_may_call_unless_it_is_named" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_cors_configuration.data) == 0 && length(jsondecode(aws_s3_bucket_policy.data[0].policy).Statement) == 1
    error_message = "No origin and no role is admitted by default."
  }
}

run "wildcards_are_refused" {
  command = plan

  variables {
    cors_origins = ["https://*.example"]
    runner_roles = ["arn:aws:iam::123456789012:role/*"]
    partition    = "azure"
  }

  expect_failures = [var.cors_origins, var.runner_roles, var.partition]
}

run "retention_that_says_nothing_or_too_much" {
  command = plan

  variables {
    retention       = { all = { prefix = "", expire_days = 1 } }
    noncurrent_days = 0
  }

  expect_failures = [var.retention, var.noncurrent_days]
}

run "an_archive_that_s3_does_not_have" {
  command = plan

  variables {
    retention = { x = { prefix = "lab1/results/", archive_class = "ATTIC", archive_days = 1 } }
  }

  expect_failures = [var.retention]
}

run "wrong_ids_are_refused" {
  command = plan

  variables {
    deployment = "d"
    analysis   = "PCA"
    bucket     = "Not_A_Bucket"
    version_id = "latest"
  }

  expect_failures = [var.deployment, var.analysis, var.bucket, var.version_id]
}
