variable "deployment" {
  description = "Id of the deployment; the value of the tag mayfly:deployment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.deployment))
    error_message = "deployment: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "analysis" {
  description = "Id of the analysis, the folder name of its blueprint."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.analysis))
    error_message = "analysis: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "bucket" {
  description = "Name of the analysis's bucket; unique in the world on AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket: 3 to 63 lower-case letters, digits, dots and hyphens (the rule of S3)."
  }
}

variable "version_id" {
  description = "Content hash of the blueprint: the version that certificates name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-f]{8,64}$", var.version_id))
    error_message = "version_id: 8 to 64 hexadecimal digits."
  }
}

variable "require_tls" {
  description = "Whether the bucket refuses plain HTTP. False only for an emulator on loopback."
  type        = bool
  nullable    = false
  default     = true
}

variable "purge" {
  description = "Whether destroying the bucket may delete the data in it. False keeps what users uploaded and computed."
  type        = bool
  nullable    = false
  default     = false
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

variable "runner_roles" {
  description = "ARNs of the roles that may list, read, write and delete everything in the bucket: the deployment's runner."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for arn in var.runner_roles : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", arn))])
    error_message = "runner_roles: ARNs of roles, such as arn:aws:iam::123456789012:role/demo-runner; never a wildcard."
  }
}

variable "cors_origins" {
  description = "Origins of the web pages whose scripts may call the bucket, such as https://mayfly.example; none closes it to all."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", origin))])
    error_message = "cors_origins: exact origins such as https://mayfly.example, without path and without wildcard."
  }
}

variable "lifecycle_rules" {
  description = "Whether the bucket tidies itself. False only for an emulator, which tidies nothing: the provider would wait 55 s for it."
  type        = bool
  nullable    = false
  default     = true
}

variable "noncurrent_days" {
  description = "Days for which an overwritten or deleted object can be had back."
  type        = number
  nullable    = false
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days: a whole number from 1."
  }
}

variable "retention" {
  description = <<-EOT
    What is deleted or archived after a while, by the name of the rule; nothing said is kept for ever.
      prefix: of the keys, such as lab1/inputs/
      expire_days: days after which objects are deleted, null for never
      archive_class, archive_days: storage class that objects move to, and after how many days; null for never
  EOT
  type = map(object({
    prefix        = string
    expire_days   = optional(number)
    archive_class = optional(string)
    archive_days  = optional(number)
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for rule in values(var.retention) : can(regex("^[a-z][a-z0-9-]+/(inputs|results)/$", rule.prefix))])
    error_message = "retention: prefix is GROUP/inputs/ or GROUP/results/."
  }

  validation {
    condition = alltrue([
      for rule in values(var.retention) :
      (rule.expire_days != null || rule.archive_class != null) &&
      (rule.archive_class == null) == (rule.archive_days == null) &&
      (rule.archive_class == null ? true : contains(["STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"], rule.archive_class))
    ])
    error_message = "retention: expire_days, or archive_class (a storage class of S3) together with archive_days."
  }

  validation {
    condition     = length(var.retention) < 1000
    error_message = "retention: S3 allows 1,000 lifecycle rules in a bucket, and one is the module's own."
  }
}

variable "tags" {
  description = "The deployment's own tags. Mayfly's tags win over them."
  type        = map(string)
  nullable    = false
  default     = {}
}
