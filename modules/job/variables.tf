variable "deployment" {
  description = "Id of the deployment; the value of the tag mayfly:deployment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.deployment))
    error_message = "deployment: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "job" {
  description = "Id of the job; the value of the tag mayfly:job, by which sweeps find what is left."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,98}[a-z0-9]$", var.job))
    error_message = "job: 3 to 100 lower-case letters, digits and hyphens."
  }
}

variable "group" {
  description = "Id of the user group that pays."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.group))
    error_message = "group: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "analysis" {
  description = "Id of the analysis that runs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.analysis))
    error_message = "analysis: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "version_id" {
  description = "Version of the analysis, the value of the tag mayfly:version; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.version_id == null || can(regex("^[0-9a-f]{8,64}$", var.version_id))
    error_message = "version_id: 8 to 64 hexadecimal digits, or null."
  }
}

variable "deadline" {
  description = "When everything of the job must be gone, RFC 3339, UTC; the reaper reads it from the tags."
  type        = string
  nullable    = false

  validation {
    condition     = can(timeadd(var.deadline, "0s")) && can(regex("(Z|\\+00:00)$", var.deadline))
    error_message = "deadline: a time such as 2026-01-31T12:00:00Z, in UTC."
  }
}

variable "image" {
  description = "AMI id of the immutable analysis environment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^ami-[0-9a-z]+$", var.image))
    error_message = "image: an AMI id, such as ami-0123456789abcdef0."
  }
}

variable "instance_type" {
  description = "EC2 instance type."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type: a type of EC2, such as m5.large."
  }
}

variable "volume_gb" {
  description = "Size of the root volume, GB."
  type        = number
  nullable    = false

  validation {
    condition     = var.volume_gb >= 1 && var.volume_gb <= 16384 && floor(var.volume_gb) == var.volume_gb
    error_message = "volume_gb: a whole number from 1 to 16384."
  }
}

variable "volume_type" {
  description = "EBS type of the root volume."
  type        = string
  nullable    = false
  default     = "gp3"

  validation {
    condition     = contains(["gp2", "gp3", "io1", "io2"], var.volume_type)
    error_message = "volume_type: gp2, gp3, io1 or io2."
  }
}

variable "volume_iops" {
  description = "IOPS of the root volume; null for what its type gives."
  type        = number
  default     = null

  validation {
    condition     = var.volume_iops == null || contains(["gp3", "io1", "io2"], var.volume_type)
    error_message = "volume_iops: only gp3, io1 and io2 take it."
  }
}

variable "volume_throughput" {
  description = "Throughput of the root volume, MiB/s; null for what its type gives."
  type        = number
  default     = null

  validation {
    condition     = var.volume_throughput == null || var.volume_type == "gp3"
    error_message = "volume_throughput: only gp3 takes it."
  }
}

variable "public_ip" {
  description = "Whether instances get a public address. A subnet of the default VPC leads out only with one."
  type        = bool
  nullable    = false
  default     = false
}

variable "instance_profile" {
  description = "Name of the instance profile: what the instances may do."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", var.instance_profile))
    error_message = "instance_profile: the name of an instance profile, not its ARN."
  }
}

variable "vpc_id" {
  description = "VPC of the security group; null for the account's default VPC."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[0-9a-z]+$", var.vpc_id))
    error_message = "vpc_id: an id such as vpc-0123456789abcdef0, or null."
  }
}

variable "subnet_id" {
  description = "Subnet of the instances; null for a default subnet."
  type        = string
  default     = null

  validation {
    condition     = var.subnet_id == null || can(regex("^subnet-[0-9a-z]+$", var.subnet_id))
    error_message = "subnet_id: an id such as subnet-0123456789abcdef0, or null."
  }

  validation {
    condition     = (var.subnet_id == null) == (var.vpc_id == null)
    error_message = "subnet_id and vpc_id belong together: give both, or neither."
  }
}

variable "tasks" {
  description = <<-EOT
    One instance per task, by the task's number.
      name: the dataset's name, for people who look at the list of instances
      user_data: what the instance runs when it starts, base64
      instance_type, zone, subnet_id, spot, max_price: where this try for a machine differs from the job's
  EOT
  type = map(object({
    name          = string
    user_data     = string
    instance_type = optional(string)
    zone          = optional(string)
    subnet_id     = optional(string)
    spot          = optional(bool, false)
    max_price     = optional(string)
  }))
  nullable = false

  validation {
    condition     = length(var.tasks) > 0 && alltrue([for number in keys(var.tasks) : can(regex("^(0|[1-9][0-9]*)$", number))])
    error_message = "tasks: at least one, by numbers that count from 0."
  }

  validation {
    # 16 KB of user data become 21,848 characters of base64.
    condition     = alltrue([for task in values(var.tasks) : can(regex("^[A-Za-z0-9+/]+={0,2}$", task.user_data)) && length(task.user_data) <= 21848])
    error_message = "tasks: user_data is base64 of at most 16 KB (the limit of EC2)."
  }

  validation {
    condition = alltrue([
      for task in values(var.tasks) :
      (task.instance_type == null || can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", task.instance_type))) &&
      (task.zone == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z0-9-]*$", task.zone))) &&
      (task.subnet_id == null || can(regex("^subnet-[0-9a-z]+$", task.subnet_id))) &&
      (task.max_price == null || can(regex("^[0-9]+(\\.[0-9]+)?$", task.max_price)))
    ])
    error_message = "tasks: instance_type such as m5.large, zone such as us-east-1a, subnet_id such as subnet-0123, max_price such as 0.096; or null."
  }
}

variable "tags" {
  description = "The deployment's own tags. Mayfly's tags win over them."
  type        = map(string)
  nullable    = false
  default     = {}
}
