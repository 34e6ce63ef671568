terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

# The bucket of one analysis, for two groups, with data that does not stay for ever.

provider "aws" {
  region = "eu-central-1"
}

module "analysis" {
  source = "../.."

  deployment   = "demo"
  analysis     = "pca"
  bucket       = "demo-pca"
  version_id   = "0123456789abcdef"
  runner_roles = ["arn:aws:iam::123456789012:role/demo-runner"]
  cors_origins = ["https://mayfly.example"]

  retention = {
    lab1-inputs  = { prefix = "lab1/inputs/", expire_days = 30 }
    lab1-results = { prefix = "lab1/results/", archive_class = "GLACIER_IR", archive_days = 90 }
  }

  tags = { lab = "one" }
}

output "bucket" {
  value = module.analysis.bucket
}
