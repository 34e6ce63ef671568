# One user group: a role for its people and a role for its instances. One pair per group, never per job or analysis,
# because AWS allows 1000 roles.

locals {
  tags = merge(var.tags, {
    "mayfly:deployment" = var.deployment
    "mayfly:managed-by" = "mayfly"
    "mayfly:group"      = var.group
  })

  # Composed, not asked for: a policy whose text is known when it is planned can be reviewed.
  iam_prefix    = "arn:${var.partition}:iam::${var.account}"
  account_root  = "${local.iam_prefix}:root"
  user_role_arn = "${local.iam_prefix}:role/${var.user_role}"
}

resource "aws_iam_role" "user" {
  name                 = var.user_role
  description          = "People of the group ${var.group}"
  max_session_duration = 43200 # 12 hours, the most AWS allows; who hands out credentials asks for less
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

# What does not fit into a role is kept beside it.
resource "aws_iam_policy" "user" {
  for_each = var.user_managed_policies

  name        = each.key
  description = "People of the group ${var.group}"
  policy      = each.value
  tags        = local.tags
}

resource "aws_iam_role_policy_attachment" "user" {
  for_each = var.user_managed_policies

  role       = aws_iam_role.user.name
  policy_arn = aws_iam_policy.user[each.key].arn
}

resource "aws_iam_role_policy" "user" {
  for_each = var.user_policies

  name   = each.key
  role   = aws_iam_role.user.name
  policy = each.value
}

resource "aws_iam_role" "instance" {
  name                 = var.instance_role
  description          = "Instances of the group ${var.group}"
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_policy" "instance" {
  for_each = var.instance_managed_policies

  name        = each.key
  description = "Instances of the group ${var.group}"
  policy      = each.value
  tags        = local.tags
}

resource "aws_iam_role_policy_attachment" "instance" {
  for_each = var.instance_managed_policies

  role       = aws_iam_role.instance.name
  policy_arn = aws_iam_policy.instance[each.key].arn
}

resource "aws_iam_role_policy" "instance" {
  for_each = var.instance_policies

  name   = each.key
  role   = aws_iam_role.instance.name
  policy = each.value
}

resource "aws_iam_instance_profile" "instance" {
  name = var.instance_role
  role = aws_iam_role.instance.name
  tags = local.tags
}

# For those who cannot use short-lived credentials: a user who may do nothing but become the group's role. The secret
# is encrypted for the group's own PGP key before it reaches Terraform's state.
resource "aws_iam_user" "member" {
  count = var.pgp_key == null ? 0 : 1

  name                 = var.user_role
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags
}

resource "aws_iam_user_policy" "member" {
  count = length(aws_iam_user.member)

  name = "become-the-group"
  user = aws_iam_user.member[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["sts:AssumeRole"]
      Resource = [local.user_role_arn]
    }]
  })
}

resource "aws_iam_access_key" "member" {
  count = length(aws_iam_user.member)

  user    = aws_iam_user.member[0].name
  pgp_key = var.pgp_key
}

# AWS's own eye on what the group spends. The ledger refuses jobs before they cost anything; this one looks at the bill.
resource "aws_budgets_budget" "group" {
  count = var.budget == null ? 0 : 1

  name         = var.user_role
  budget_type  = "COST"
  limit_amount = var.budget.amount
  limit_unit   = "USD"
  time_unit    = var.budget.period
  tags         = local.tags

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:mayfly:group$%s", var.group)]
  }

  dynamic "notification" {
    for_each = length(var.budget.emails) > 0 ? toset(var.budget.alerts) : []

    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = "ACTUAL"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.budget.emails
    }
  }
}
