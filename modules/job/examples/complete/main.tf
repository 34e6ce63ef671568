terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

# A job with two tasks in a subnet of one's own; the second asks for spot capacity.

provider "aws" {
  region      = "eu-central-1"
  max_retries = 2
}

module "job" {
  source = "../.."

  deployment       = "demo"
  job              = "pca-0123456789ab"
  group            = "lab1"
  analysis         = "pca"
  version_id       = "0123456789abcdef"
  deadline         = "2026-12-31T12:00:00Z"
  image            = "ami-0123456789abcdef0"
  instance_type    = "m5.large"
  volume_gb        = 20
  instance_profile = "demo-instance-lab1"
  vpc_id           = "vpc-0123456789abcdef0"
  subnet_id        = "subnet-0123456789abcdef0"

  tasks = {
    "0" = { name = "a.npy", user_data = base64encode("#!/bin/bash\nshutdown -h now\n") }
    "1" = { name = "b.npy", user_data = base64encode("#!/bin/bash\nshutdown -h now\n"), spot = true, max_price = "0.096" }
  }
}

output "instances" {
  value = module.job.instances
}
