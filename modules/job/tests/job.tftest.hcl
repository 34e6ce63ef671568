mock_provider "aws" {
  mock_resource "aws_security_group" {
    defaults = {
      id = "sg-0123456789abcdef0"
    }
  }
}

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
  tags             = { lab = "one", "mayfly:job" = "forged" }
  tasks = {
    "0" = { name = "a (1) é.npy", user_data = "aGVsbG8=" }
    "1" = { name = "b.npy", user_data = "aGVsbG8=" }
  }
}

run "one_instance_per_task_all_of_them_mortal" {
  command = apply

  assert {
    condition     = toset(keys(aws_instance.task)) == toset(["0", "1"]) && toset(keys(output.instances)) == toset(["0", "1"])
    error_message = "One instance per task, told by the task's number."
  }

  assert {
    condition     = alltrue([for one in aws_instance.task : one.instance_initiated_shutdown_behavior == "terminate"])
    error_message = "Shutdown must mean terminate, or a stopped instance is billed for its disk for ever."
  }

  assert {
    condition     = alltrue([for one in aws_instance.task : one.metadata_options[0].http_tokens == "required" && one.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "Only IMDSv2, and only from the instance itself."
  }

  assert {
    condition = alltrue([
      for one in aws_instance.task :
      one.root_block_device[0].volume_type == "gp3" && one.root_block_device[0].encrypted && one.root_block_device[0].delete_on_termination && one.root_block_device[0].volume_size == 8
    ])
    error_message = "The disk is gp3, encrypted, of the size asked for, and goes with its instance."
  }

  assert {
    condition     = alltrue([for one in aws_instance.task : one.vpc_security_group_ids == toset([aws_security_group.job.id])])
    error_message = "The job's own security group, and no other."
  }

  assert {
    condition     = alltrue([for one in aws_instance.task : one.iam_instance_profile == "demo-instance-lab1" && one.user_data_base64 == "aGVsbG8="])
    error_message = "Every instance has the group's rights and its own start script."
  }
}

run "nothing_comes_in" {
  command = plan

  assert {
    condition     = length(aws_security_group.job.ingress) == 0 && length(aws_security_group.job.egress) == 1
    error_message = "A job's machines call out and are never called."
  }

  assert {
    condition     = aws_security_group.job.name == "mayfly-pca-0123456789ab"
    error_message = "The security group is named after its job."
  }
}

run "everything_can_be_found_by_its_tags" {
  command = plan

  assert {
    condition = alltrue([
      for tags in concat([for one in aws_instance.task : one.tags], [for one in aws_instance.task : one.volume_tags], [aws_security_group.job.tags]) :
      tags["mayfly:deployment"] == "demo" && tags["mayfly:managed-by"] == "mayfly" && tags["mayfly:job"] == "pca-0123456789ab" && tags["mayfly:group"] == "lab1" && tags["mayfly:analysis"] == "pca" && tags["mayfly:deadline"] == "2026-01-31T12:00:00Z" && tags["lab"] == "one"
    ])
    error_message = "Instances, volumes and the security group carry all tags, and a deployment's tags cannot forge ours."
  }

  assert {
    condition     = aws_instance.task["1"].tags["mayfly:task"] == "1" && aws_instance.task["1"].volume_tags["mayfly:task"] == "1"
    error_message = "An instance and its volume say which task they are."
  }

  assert {
    condition     = aws_instance.task["0"].tags["Name"] == "pca-0123456789ab 0 a _1_ é.npy"
    error_message = "A dataset's name becomes a tag that EC2 accepts."
  }
}

run "a_very_long_name_still_fits_into_a_tag" {
  command = plan

  variables {
    tasks = { "0" = { name = join("", [for n in range(300) : "x"]), user_data = "aGVsbG8=" } }
  }

  assert {
    condition     = length(aws_instance.task["0"].tags["Name"]) == 200
    error_message = "A tag's value has at most 256 characters."
  }
}

run "a_network_of_ones_own" {
  command = plan

  variables {
    vpc_id    = "vpc-0abc"
    subnet_id = "subnet-0abc"
  }

  assert {
    condition     = aws_security_group.job.vpc_id == "vpc-0abc" && alltrue([for one in aws_instance.task : one.subnet_id == "subnet-0abc"])
    error_message = "Security group and instances go where the deployment says."
  }
}

run "a_running_task_is_not_replaced_by_another_image_or_script" {
  command = plan

  variables {
    image = "ami-0fedcba9876543210"
    tasks = {
      "0" = { name = "a (1) é.npy", user_data = "d29ybGQ=" }
      "1" = { name = "b.npy", user_data = "d29ybGQ=" }
    }
  }

  assert {
    condition     = alltrue([for one in aws_instance.task : one.ami == "ami-0123456789abcdef0" && one.user_data_base64 == "aGVsbG8="])
    error_message = "The instances of the first run must stay as they are."
  }
}

run "each_task_may_stand_on_another_machine" {
  command = plan

  variables {
    vpc_id    = "vpc-0abc"
    subnet_id = "subnet-0abc"
    tasks = {
      "2" = { name = "c.npy", user_data = "aGVsbG8=" }
      "3" = { name = "d.npy", user_data = "aGVsbG8=", instance_type = "m6i.large", subnet_id = "subnet-0def" }
      "4" = { name = "e.npy", user_data = "aGVsbG8=", zone = "us-east-1b", spot = true, max_price = "0.096" }
    }
  }

  assert {
    condition     = [for number in ["2", "3", "4"] : aws_instance.task[number].instance_type] == ["m5.large", "m6i.large", "m5.large"]
    error_message = "A task's own type wins over the job's."
  }

  assert {
    condition     = [for number in ["2", "3", "4"] : aws_instance.task[number].subnet_id] == ["subnet-0abc", "subnet-0def", "subnet-0abc"]
    error_message = "A task's own subnet wins over the job's."
  }

  assert {
    condition     = aws_instance.task["4"].availability_zone == "us-east-1b"
    error_message = "A task stands in the zone that was asked for."
  }

  assert {
    condition     = one(aws_instance.task["4"].instance_market_options).market_type == "spot" && one(one(aws_instance.task["4"].instance_market_options).spot_options).max_price == "0.096"
    error_message = "Spot capacity is asked for once, with a price cap."
  }
}

run "an_instance_is_not_seen_from_the_internet" {
  command = plan

  assert {
    condition     = alltrue([for one in aws_instance.task : one.associate_public_ip_address == false])
    error_message = "No public address unless one is asked for."
  }
}

run "what_the_resource_bank_asks_for" {
  command = plan

  variables {
    volume_type       = "gp3"
    volume_iops       = 4000
    volume_throughput = 250
    public_ip         = true
    version_id        = "0123456789abcdef"
    tasks             = { "9" = { name = "new.npy", user_data = "aGVsbG8=" } }
  }

  assert {
    condition = (
      aws_instance.task["9"].root_block_device[0].iops == 4000 &&
      aws_instance.task["9"].root_block_device[0].throughput == 250 &&
      aws_instance.task["9"].associate_public_ip_address
    )
    error_message = "Volume and address are as asked for."
  }

  assert {
    condition     = aws_instance.task["9"].tags["mayfly:version"] == "0123456789abcdef" && aws_instance.task["9"].volume_tags["mayfly:version"] == "0123456789abcdef"
    error_message = "What runs says which version of the analysis it is."
  }
}
