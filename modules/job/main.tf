# Everything one job owns: a security group and one instance per task. No data sources, so that a plan needs no
# network, and no resource that outlives its instance.

locals {
  tags = merge(var.tags, {
    "mayfly:deployment" = var.deployment
    "mayfly:managed-by" = "mayfly"
    "mayfly:job"        = var.job
    "mayfly:group"      = var.group
    "mayfly:analysis"   = var.analysis
    "mayfly:deadline"   = var.deadline
    }, var.version_id == null ? {} : {
    "mayfly:version" = var.version_id
  })

  task_tags = {
    for number, task in var.tasks : number => merge(local.tags, {
      "mayfly:task" = number
      # A dataset's name may hold characters that a tag may not.
      Name = substr("${var.job} ${number} ${replace(task.name, "/[^\\p{L}\\p{N} _.:\\/=+@-]/", "_")}", 0, 200)
    })
  }
}

resource "aws_security_group" "job" {
  name        = "mayfly-${var.job}"
  description = "Job ${var.job}: out only"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "mayfly-${var.job}" })

  # Nobody logs in to an instance: it fetches its data, and says how it is doing, through S3.
  ingress = []

  egress {
    description      = "Data, results and status travel through S3"
    from_port        = 0
    to_port          = 0
    protocol         = "-1"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_instance" "task" {
  for_each = var.tasks

  ami                    = var.image
  instance_type          = coalesce(each.value.instance_type, var.instance_type)
  iam_instance_profile   = var.instance_profile
  availability_zone      = each.value.zone
  subnet_id              = each.value.subnet_id == null ? var.subnet_id : each.value.subnet_id
  vpc_security_group_ids = [aws_security_group.job.id]
  user_data_base64       = each.value.user_data

  # Without an address nothing on the internet can even try to reach it. Its way out is then the subnet's own.
  associate_public_ip_address = var.public_ip

  # An instance ends itself by shutting down; it must then be gone, not merely stopped and billed for its disk.
  instance_initiated_shutdown_behavior = "terminate"

  tags        = local.task_tags[each.key]
  volume_tags = local.task_tags[each.key]

  dynamic "instance_market_options" {
    for_each = each.value.spot ? [each.value.max_price] : []

    content {
      market_type = "spot"

      # One-time: a request that asks again by itself would make machines that nobody waits for.
      spot_options {
        instance_interruption_behavior = "terminate"
        max_price                      = instance_market_options.value
        spot_instance_type             = "one-time"
      }
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # Inline: a volume of its own would make the provider wait half a minute and could outlive the instance.
  root_block_device {
    volume_type           = var.volume_type
    volume_size           = var.volume_gb
    iops                  = var.volume_iops
    throughput            = var.volume_throughput
    encrypted             = true
    delete_on_termination = true
  }

  lifecycle {
    # A task is never done twice behind the runner's back: whatever changes, a running instance stays.
    ignore_changes = [ami, associate_public_ip_address, user_data, user_data_base64]
  }
}
