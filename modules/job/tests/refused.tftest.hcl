mock_provider "aws" {}

variables {
  deployment       = "demo"
  job              = "pca-0123456789ab"
  group            = "lab1"
  analysis         = "pca"
  deadline         = "2026-01-31T12:00:00Z"
  image            = "ami-0123456789abcdef0"
  instance_type    = "m5.large"
  volume_gb        = 8
  instance_profile = "demo-instance-lab1"
  tasks            = { "0" = { name = "a.npy", user_data = "aGVsbG8=" } }
}

run "ids_that_cannot_be_tags_and_names" {
  command = plan

  variables {
    deployment = "Demo!"
    job        = "a job"
    group      = "-lab"
    analysis   = "pca;rm"
  }

  expect_failures = [var.deployment, var.job, var.group, var.analysis]
}

run "a_deadline_that_is_no_time" {
  command = plan

  variables {
    deadline = "tomorrow"
  }

  expect_failures = [var.deadline]
}

run "a_deadline_in_another_time_zone" {
  command = plan

  variables {
    deadline = "2026-01-31T12:00:00+02:00"
  }

  expect_failures = [var.deadline]
}

run "hardware_that_does_not_exist" {
  command = plan

  variables {
    image            = "debian"
    instance_type    = "large"
    volume_gb        = 0
    instance_profile = "arn:aws:iam::123456789012:instance-profile/x"
  }

  expect_failures = [var.image, var.instance_type, var.volume_gb, var.instance_profile]
}

run "half_a_disk" {
  command = plan

  variables {
    volume_gb = 8.5
  }

  expect_failures = [var.volume_gb]
}

run "a_subnet_without_its_vpc" {
  command = plan

  variables {
    subnet_id = "subnet-0abc"
  }

  expect_failures = [var.subnet_id]
}

run "a_vpc_that_is_none" {
  command = plan

  variables {
    vpc_id    = "subnet-0abc"
    subnet_id = "subnet-0abc"
  }

  expect_failures = [var.vpc_id]
}

run "a_subnet_that_is_none" {
  command = plan

  variables {
    vpc_id    = "vpc-0abc"
    subnet_id = "vpc-0abc"
  }

  expect_failures = [var.subnet_id]
}

run "no_tasks" {
  command = plan

  variables {
    tasks = {}
  }

  expect_failures = [var.tasks]
}

run "tasks_that_are_not_numbered" {
  command = plan

  variables {
    tasks = { "first" = { name = "a.npy", user_data = "aGVsbG8=" } }
  }

  expect_failures = [var.tasks]
}

run "a_start_script_that_is_not_base64" {
  command = plan

  variables {
    tasks = { "0" = { name = "a.npy", user_data = "#!/bin/bash" } }
  }

  expect_failures = [var.tasks]
}

run "a_start_script_that_ec2_would_refuse" {
  command = plan

  variables {
    tasks = { "0" = { name = "a.npy", user_data = join("", [for n in range(64) : join("", [for m in range(86) : "aGVs"])]) } }
  }

  expect_failures = [var.tasks]
}

run "machines_of_a_task_that_do_not_exist" {
  command = plan

  variables {
    tasks = { "0" = { name = "a.npy", user_data = "aGVsbG8=", instance_type = "large", zone = "here", max_price = "cheap" } }
  }

  expect_failures = [var.tasks]
}

run "a_version_that_is_no_hash" {
  command = plan

  variables {
    version_id = "latest"
  }

  expect_failures = [var.version_id]
}

run "a_volume_that_ebs_does_not_have" {
  command = plan

  variables {
    volume_type = "floppy"
  }

  expect_failures = [var.volume_type]
}

run "a_volume_that_takes_no_figures" {
  command = plan

  variables {
    volume_type       = "gp2"
    volume_iops       = 4000
    volume_throughput = 250
  }

  expect_failures = [var.volume_iops, var.volume_throughput]
}
