terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

# What a deployment has once.

provider "aws" {
  region = "eu-central-1"
}

module "base" {
  source = "../.."

  deployment           = "demo"
  region               = "eu-central-1"
  account              = "123456789012"
  platform_bucket      = "demo-platform"
  queue                = "demo-events"
  dead_letter_queue    = "demo-events-dead"
  rule                 = "demo-submissions"
  runner_role          = "demo-runner"
  permissions_boundary = "arn:aws:iam::123456789012:policy/limit"
  trust                = ["arn:aws:iam::123456789012:role/ops"]

  runner_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
      Resource = ["arn:aws:sqs:eu-central-1:123456789012:demo-events"]
    }]
  })
}

output "queue_url" {
  value = module.base.queue_url
}
