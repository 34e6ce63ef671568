variable "deployment" {
  description = "Id of the deployment; the value of the tag mayfly:deployment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.deployment))
    error_message = "deployment: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "partition" {
  description = "First part of every ARN: aws, or aws-cn, or aws-us-gov."
  type        = string
  nullable    = false
  default     = "aws"

  validation {
    condition     = can(regex("^aws(-[a-z]+)*$", var.partition))
    error_message = "partition: aws, aws-cn, aws-us-gov …"
  }
}

variable "region" {
  description = "Region of the queues and the rule, part of ARNs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region: the id of a region, such as eu-central-1."
  }
}

variable "account" {
  description = "The account's twelve digits, part of ARNs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "account: twelve digits."
  }
}

variable "platform_bucket" {
  description = "Name of the bucket that holds what the platform itself needs, for example the agent."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.platform_bucket))
    error_message = "platform_bucket: 3 to 63 lower-case letters, digits, dots and hyphens (the rule of S3)."
  }
}

variable "queue" {
  description = "Name of the queue that the submission events go to."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,80}$", var.queue))
    error_message = "queue: up to 80 letters, digits, hyphens and underscores (the rule of SQS)."
  }
}

variable "dead_letter_queue" {
  description = "Name of the queue that keeps events which could not be read."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,80}$", var.dead_letter_queue)) && var.dead_letter_queue != var.queue
    error_message = "dead_letter_queue: up to 80 letters, digits, hyphens and underscores, and not the queue itself."
  }
}

variable "rule" {
  description = "Name of the one event rule that catches the submissions of all analyses."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,64}$", var.rule))
    error_message = "rule: up to 64 letters, digits, dots, hyphens and underscores (the rule of EventBridge)."
  }
}

variable "runner_role" {
  description = "Name of the role that watcher, worker and reaper run under."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.runner_role))
    error_message = "runner_role: up to 64 letters, digits and +=,.@_- (the rule of IAM)."
  }
}

variable "runner_policy" {
  description = "What the runner role may do: a policy document, JSON."
  type        = string
  nullable    = false

  validation {
    condition     = can(jsondecode(var.runner_policy).Statement)
    error_message = "runner_policy: a JSON policy document with a Statement."
  }

  validation {
    condition     = length(replace(var.runner_policy, "/\\s/", "")) <= 10240
    error_message = "runner_policy: AWS allows 10,240 characters of inline policy in a role, white space not counted."
  }
}

variable "trust" {
  description = "ARNs of the principals that may assume the runner role. Empty: whoever the account itself allows."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for arn in var.trust : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:[^*]+$", arn))])
    error_message = "trust: ARNs of IAM principals, such as arn:aws:iam::123456789012:role/ops; never a wildcard."
  }
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds the runner role; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[^*]+$", var.permissions_boundary))
    error_message = "permissions_boundary: the ARN of a policy, such as arn:aws:iam::123456789012:policy/limit, or null."
  }
}

variable "lifecycle_rules" {
  description = "Whether the bucket tidies itself. False only for an emulator, which tidies nothing: the provider would wait 55 s for it."
  type        = bool
  nullable    = false
  default     = true
}

variable "require_tls" {
  description = "Whether the bucket and the queues refuse plain HTTP. False only for an emulator on loopback."
  type        = bool
  nullable    = false
  default     = true
}

variable "tags" {
  description = "The deployment's own tags. Mayfly's tags win over them."
  type        = map(string)
  nullable    = false
  default     = {}
}
