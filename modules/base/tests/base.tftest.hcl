mock_provider "aws" {
  mock_resource "aws_cloudwatch_event_rule" {
    defaults = {
      arn = "arn:aws:events:eu-central-1:123456789012:rule/demo-submissions"
    }
  }
  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:eu-central-1:123456789012:demo-events"
      url = "https://sqs.eu-central-1.amazonaws.com/123456789012/demo-events"
    }
  }
  mock_resource "aws_iam_role" {
    defaults = {
      arn = "arn:aws:iam::123456789012:role/demo-runner"
    }
  }
}

variables {
  deployment        = "demo"
  region            = "eu-central-1"
  account           = "123456789012"
  platform_bucket   = "demo-platform"
  queue             = "demo-events"
  dead_letter_queue = "demo-events-dead"
  rule              = "demo-submissions"
  runner_role       = "demo-runner"
  runner_policy     = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
  tags              = { "mayfly:deployment" = "forged" }
}

run "submissions_become_messages" {
  command = apply

  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.submissions.event_pattern) == {
      source      = ["aws.s3"]
      detail-type = ["Object Created"]
      detail      = { object = { key = [{ wildcard = "*/submissions/*submit.json" }, { wildcard = "*/submissions/*cancel.json" }] } }
    }
    error_message = "One rule for the submit and cancel files of all analyses."
  }

  assert {
    condition     = aws_cloudwatch_event_target.queue.rule == "demo-submissions" && aws_cloudwatch_event_target.queue.arn == aws_sqs_queue.events.arn
    error_message = "The rule's events go to the queue."
  }

  assert {
    condition = (
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Principal.Service == "events.amazonaws.com" &&
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Action == "sqs:SendMessage" &&
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Resource == "arn:aws:sqs:eu-central-1:123456789012:demo-events" &&
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == "arn:aws:events:eu-central-1:123456789012:rule/demo-submissions"
    )
    error_message = "Only the rule may write to the queue."
  }

  assert {
    condition = jsondecode(aws_sqs_queue.events.redrive_policy) == {
      deadLetterTargetArn = "arn:aws:sqs:eu-central-1:123456789012:demo-events-dead"
      maxReceiveCount     = 5
    }
    error_message = "What cannot be read ends in the dead-letter queue."
  }

  assert {
    condition     = aws_sqs_queue.events.message_retention_seconds == 1209600 && aws_sqs_queue.dead_letters.message_retention_seconds == 1209600
    error_message = "Messages are kept for 14 days."
  }

  assert {
    condition     = aws_sqs_queue.events.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "Messages are encrypted."
  }

  assert {
    condition     = output.queue_url == aws_sqs_queue.events.url && output.dead_letter_queue_url == aws_sqs_queue.dead_letters.url && output.platform_bucket == "demo-platform"
    error_message = "Queues and bucket are told."
  }
}

run "the_platform_bucket_is_closed" {
  command = apply

  assert {
    condition = (
      aws_s3_bucket_public_access_block.platform.block_public_acls &&
      aws_s3_bucket_public_access_block.platform.block_public_policy &&
      aws_s3_bucket_public_access_block.platform.ignore_public_acls &&
      aws_s3_bucket_public_access_block.platform.restrict_public_buckets &&
      aws_s3_bucket_versioning.platform.versioning_configuration[0].status == "Enabled" &&
      one(aws_s3_bucket_ownership_controls.platform.rule).object_ownership == "BucketOwnerEnforced"
    )
    error_message = "Nothing in the platform bucket can be made public."
  }

  assert {
    condition = (
      jsondecode(aws_s3_bucket_policy.platform[0].policy).Statement[0].Effect == "Deny" &&
      jsondecode(aws_s3_bucket_policy.platform[0].policy).Statement[0].Resource == ["arn:aws:s3:::demo-platform", "arn:aws:s3:::demo-platform/*"] &&
      jsondecode(aws_sqs_queue.events.policy).Statement[1].Effect == "Deny" &&
      jsondecode(aws_sqs_queue.events.policy).Statement[1].Action == "sqs:*"
    )
    error_message = "Bucket and queue are closed to plain HTTP."
  }

  assert {
    condition = alltrue([
      for tags in [aws_s3_bucket.platform.tags, aws_sqs_queue.events.tags, aws_sqs_queue.dead_letters.tags, aws_cloudwatch_event_rule.submissions.tags, aws_iam_role.runner.tags] :
      tags["mayfly:deployment"] == "demo" && tags["mayfly:managed-by"] == "mayfly"
    ])
    error_message = "Everything says whose it is."
  }
}

run "an_emulator_may_speak_plain_http" {
  command = apply

  variables {
    require_tls = false
  }

  assert {
    condition     = length(aws_s3_bucket_policy.platform) == 0 && length(jsondecode(aws_sqs_queue.events.policy).Statement) == 1 && jsondecode(aws_sqs_queue.dead_letters.policy).Statement == []
    error_message = "Without require_tls nothing is denied."
  }
}

run "the_runner_role_has_the_rights_given" {
  command = apply

  assert {
    condition     = aws_iam_role_policy.runner.role == "demo-runner" && jsondecode(aws_iam_role_policy.runner.policy).Version == "2012-10-17"
    error_message = "The policy is the compiler's."
  }

  assert {
    condition     = jsondecode(aws_iam_role.runner.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:root"]
    error_message = "Without more, the account itself decides who runs the runner."
  }
}

run "trust_is_narrowed_to_who_is_named" {
  command = apply

  variables {
    trust = ["arn:aws:iam::123456789012:role/ops"]
  }

  assert {
    condition     = jsondecode(aws_iam_role.runner.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:role/ops"]
    error_message = "Only the principals named may run the runner."
  }
}

run "the_bucket_tidies_itself_and_the_dead_letters_are_the_queues_own" {
  command = apply

  variables {
    permissions_boundary = "arn:aws:iam::123456789012:policy/limit"
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.platform[0].rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 7
    error_message = "Broken uploads go by themselves."
  }

  assert {
    condition = jsondecode(aws_sqs_queue.dead_letters.redrive_allow_policy) == {
      redrivePermission = "byQueue"
      sourceQueueArns   = ["arn:aws:sqs:eu-central-1:123456789012:demo-events"]
    }
    error_message = "Only our queue leaves dead letters here."
  }

  assert {
    condition     = aws_iam_role.runner.permissions_boundary == "arn:aws:iam::123456789012:policy/limit"
    error_message = "The boundary bounds the runner."
  }
}

run "an_emulator_is_spared_the_lifecycle_rules" {
  command = apply

  variables {
    lifecycle_rules = false
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.platform) == 0
    error_message = "Without lifecycle_rules there are none."
  }
}

run "a_boundary_that_is_none" {
  command = plan

  variables {
    permissions_boundary = "arn:aws:iam::123456789012:role/x"
  }

  expect_failures = [var.permissions_boundary]
}

run "every_policy_is_known_when_planned" {
  command = plan

  assert {
    condition = alltrue([
      for text in [aws_s3_bucket_policy.platform[0].policy, aws_sqs_queue.events.policy, aws_sqs_queue.dead_letters.policy, aws_iam_role.runner.assume_role_policy] :
      strcontains(text, "123456789012") || strcontains(text, "arn:aws:s3:::demo-platform")
    ])
    error_message = "No policy waits for an ARN."
  }
}

run "china_has_arns_of_its_own" {
  command = plan

  variables {
    partition = "aws-cn"
    region    = "cn-north-1"
  }

  assert {
    condition = (
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Resource == "arn:aws-cn:sqs:cn-north-1:123456789012:demo-events" &&
      jsondecode(aws_sqs_queue.events.policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == "arn:aws-cn:events:cn-north-1:123456789012:rule/demo-submissions" &&
      jsondecode(aws_iam_role.runner.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws-cn:iam::123456789012:root"]
    )
    error_message = "ARNs begin with the partition."
  }
}

run "wrong_names_are_refused" {
  command = plan

  variables {
    partition       = "azure"
    region          = "Frankfurt"
    account         = "1234"
    deployment      = "Demo"
    platform_bucket = "Demo_Platform"
    queue           = "a queue"
    rule            = "a rule"
    runner_role     = "a role"
    runner_policy   = "allow everything"
    trust           = ["*"]
  }

  expect_failures = [
    var.partition, var.region, var.account, var.deployment, var.platform_bucket, var.queue, var.rule, var.runner_role, var.runner_policy, var.trust,
  ]
}

run "a_wrong_name_of_the_dead_letter_queue_is_refused" {
  command = plan

  variables {
    dead_letter_queue = "a.queue"
  }

  expect_failures = [var.dead_letter_queue]
}

run "a_queue_is_not_its_own_dead_letter_queue" {
  command = plan

  variables {
    dead_letter_queue = "demo-events"
  }

  expect_failures = [var.dead_letter_queue]
}

run "a_policy_that_aws_would_refuse_for_its_length" {
  command = plan

  variables {
    runner_policy = jsonencode({ Statement = [for n in range(600) : "arn:aws:s3:::bucket"] })
  }

  expect_failures = [var.runner_policy]
}
