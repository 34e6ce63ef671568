mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = {
      arn = "arn:aws:iam::123456789012:role/demo"
    }
  }
  mock_resource "aws_iam_policy" {
    defaults = {
      arn = "arn:aws:iam::123456789012:policy/demo"
    }
  }
}

variables {
  deployment        = "demo"
  account           = "123456789012"
  group             = "lab1"
  user_role         = "demo-group-lab1"
  instance_role     = "demo-instance-lab1"
  user_policies     = { data = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::demo-pca\"}]}" }
  instance_policies = { data = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  tags              = { "mayfly:group" = "forged" }
}

run "two_roles_with_just_the_rights_given" {
  command = apply

  assert {
    condition     = aws_iam_role.user.name == "demo-group-lab1" && aws_iam_role.instance.name == "demo-instance-lab1"
    error_message = "One role for people, one for instances."
  }

  assert {
    condition = (
      keys(aws_iam_role_policy.user) == ["data"] &&
      aws_iam_role_policy.user["data"].role == "demo-group-lab1" &&
      jsondecode(aws_iam_role_policy.user["data"].policy).Statement[0].Action == "s3:ListBucket" &&
      aws_iam_role_policy.instance["data"].role == "demo-instance-lab1"
    )
    error_message = "Each role gets its own policies and nothing more."
  }

  assert {
    condition     = jsondecode(aws_iam_role.instance.assume_role_policy).Statement == [{ Action = "sts:AssumeRole", Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" } }]
    error_message = "Only EC2 hands out the instances' role."
  }

  assert {
    condition     = jsondecode(aws_iam_role.user.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:root"]
    error_message = "Without more, the account itself decides who becomes a user of the group."
  }

  assert {
    condition     = aws_iam_instance_profile.instance.name == "demo-instance-lab1" && aws_iam_instance_profile.instance.role == "demo-instance-lab1"
    error_message = "The instance profile carries the instance role under the same name."
  }

  assert {
    condition = alltrue([
      for tags in [aws_iam_role.user.tags, aws_iam_role.instance.tags, aws_iam_instance_profile.instance.tags] :
      tags["mayfly:group"] == "lab1" && tags["mayfly:deployment"] == "demo" && tags["mayfly:managed-by"] == "mayfly"
    ])
    error_message = "Roles say whose they are."
  }

  assert {
    condition     = output.instance_profile == "demo-instance-lab1" && output.user_role_arn == aws_iam_role.user.arn
    error_message = "The roles are told."
  }
}

run "trust_is_narrowed_to_who_is_named" {
  command = apply

  variables {
    trust = ["arn:aws:iam::123456789012:role/web"]
  }

  assert {
    condition     = jsondecode(aws_iam_role.user.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:role/web"]
    error_message = "Only the principals named may become a user of the group."
  }
}

run "every_policy_is_known_when_planned" {
  command = plan

  variables {
    partition = "aws-cn"
    pgp_key   = "aGVsbG8="
  }

  assert {
    condition = (
      jsondecode(aws_iam_role.user.assume_role_policy).Statement[0].Principal.AWS == ["arn:aws-cn:iam::123456789012:root"] &&
      jsondecode(aws_iam_user_policy.member[0].policy).Statement[0].Resource == ["arn:aws-cn:iam::123456789012:role/demo-group-lab1"]
    )
    error_message = "No policy waits for an ARN."
  }
}

run "a_wildcard_is_not_trusted" {
  command = plan

  variables {
    trust = ["*"]
  }

  expect_failures = [var.trust]
}

run "a_wildcard_in_an_arn_is_not_trusted" {
  command = plan

  variables {
    trust = ["arn:aws:iam::123456789012:role/*"]
  }

  expect_failures = [var.trust]
}

run "wrong_ids_are_refused" {
  command = plan

  variables {
    partition  = "azure"
    account    = "1234"
    deployment = "Demo"
    group      = "a lab"
    user_role  = "a role"
  }

  expect_failures = [var.partition, var.account, var.deployment, var.group, var.user_role]
}

run "a_wrong_instance_role_is_refused" {
  command = plan

  variables {
    instance_role = "x/y"
  }

  expect_failures = [var.instance_role]
}

run "people_and_instances_do_not_share_a_role" {
  command = plan

  variables {
    instance_role = "demo-group-lab1"
  }

  expect_failures = [var.instance_role]
}

run "a_policy_that_is_no_policy" {
  command = plan

  variables {
    user_policies     = { data = "allow everything" }
    instance_policies = { "a name" = "{\"Statement\":[]}" }
  }

  expect_failures = [var.user_policies, var.instance_policies]
}

run "policies_that_aws_would_refuse_for_their_length" {
  command = plan

  variables {
    user_policies = {
      one = jsonencode({ Statement = [for n in range(300) : "arn:aws:s3:::bucket"] })
      two = jsonencode({ Statement = [for n in range(300) : "arn:aws:s3:::bucket"] })
    }
    instance_policies = { one = jsonencode({ Statement = [for n in range(600) : "arn:aws:s3:::bucket"] }) }
  }

  expect_failures = [var.user_policies, var.instance_policies]
}

run "nothing_more_unless_it_is_asked_for" {
  command = plan

  assert {
    condition = (
      length(aws_iam_policy.user) == 0 && length(aws_iam_policy.instance) == 0 &&
      length(aws_budgets_budget.group) == 0 && length(aws_iam_user.member) == 0 && length(aws_iam_access_key.member) == 0 &&
      aws_iam_role.user.permissions_boundary == null
    )
    error_message = "No managed policy, no budget, no user, no boundary by default."
  }
}

run "a_group_with_everything" {
  command = apply

  variables {
    user_policies             = {}
    instance_policies         = {}
    user_managed_policies     = { demo-group-lab1-1 = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
    instance_managed_policies = { demo-instance-lab1-1 = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
    permissions_boundary      = "arn:aws:iam::123456789012:policy/limit"
    budget                    = { amount = "50", period = "MONTHLY", alerts = [50, 100], emails = ["ada@lab1.example"] }
    pgp_key                   = "aGVsbG8="
  }

  assert {
    condition = (
      keys(aws_iam_policy.user) == ["demo-group-lab1-1"] && aws_iam_role_policy_attachment.user["demo-group-lab1-1"].role == "demo-group-lab1" &&
      keys(aws_iam_policy.instance) == ["demo-instance-lab1-1"] && aws_iam_role_policy_attachment.instance["demo-instance-lab1-1"].role == "demo-instance-lab1"
    )
    error_message = "Managed policies are attached to their roles."
  }

  assert {
    condition     = alltrue([for one in [aws_iam_role.user, aws_iam_role.instance, aws_iam_user.member[0]] : one.permissions_boundary == "arn:aws:iam::123456789012:policy/limit"])
    error_message = "The boundary bounds roles and user."
  }

  assert {
    condition = (
      aws_budgets_budget.group[0].limit_amount == "50" && aws_budgets_budget.group[0].time_unit == "MONTHLY" &&
      one(aws_budgets_budget.group[0].cost_filter).values == tolist(["user:mayfly:group$lab1"]) &&
      toset([for one in aws_budgets_budget.group[0].notification : one.threshold]) == toset([50, 100])
    )
    error_message = "AWS watches what carries the group's tag, and tells at each level."
  }

  assert {
    condition     = aws_iam_user.member[0].name == "demo-group-lab1" && aws_iam_access_key.member[0].pgp_key == "aGVsbG8=" && jsondecode(aws_iam_user_policy.member[0].policy).Statement[0].Action == ["sts:AssumeRole"]
    error_message = "The user may become the group's role and do nothing by himself."
  }
}

run "more_than_iam_allows_beside_a_role" {
  command = plan

  variables {
    user_managed_policies     = { for n in range(11) : "p${n}" => "{\"Statement\":[]}" }
    instance_managed_policies = { one = jsonencode({ Statement = [for n in range(400) : "arn:aws:s3:::bucket"] }) }
  }

  expect_failures = [var.user_managed_policies, var.instance_managed_policies]
}

run "a_boundary_a_budget_and_a_key_that_are_none" {
  command = plan

  variables {
    permissions_boundary = "limit"
    budget               = { amount = "much", period = "DAILY", alerts = [], emails = [] }
    pgp_key              = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
  }

  expect_failures = [var.permissions_boundary, var.budget, var.pgp_key]
}
