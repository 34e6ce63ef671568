terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

# One user group: it may read its results of one analysis, and is told when half of its money is gone.

provider "aws" {
  region = "eu-central-1"
}

module "group" {
  source = "../.."

  deployment    = "demo"
  account       = "123456789012"
  group         = "lab1"
  user_role     = "demo-group-lab1"
  instance_role = "demo-instance-lab1"

  user_policies = {
    pca = jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["arn:aws:s3:::demo-pca/lab1/results/*"]
      }]
    })
  }

  instance_policies = {}
  budget            = { amount = "300", period = "MONTHLY", alerts = [50, 100], emails = ["ada@lab1.example"] }
}

output "user_role_arn" {
  value = module.group.user_role_arn
}
