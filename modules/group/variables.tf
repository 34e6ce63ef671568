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

variable "account" {
  description = "The account's twelve digits, part of ARNs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "account: twelve digits."
  }
}

variable "group" {
  description = "Id of the user group, the name of its profile file."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.group))
    error_message = "group: 3 to 32 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "user_role" {
  description = "Name of the role that people of the group get short-lived credentials of."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.user_role))
    error_message = "user_role: up to 64 letters, digits and +=,.@_- (the rule of IAM)."
  }
}

variable "instance_role" {
  description = "Name of the role, and of the instance profile, that the group's instances run under."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.instance_role)) && var.instance_role != var.user_role
    error_message = "instance_role: up to 64 letters, digits and +=,.@_- (the rule of IAM), and not the user role."
  }
}

variable "user_policies" {
  description = "What people of the group may do: policy documents, JSON, by the name of the inline policy."
  type        = map(string)
  nullable    = false

  validation {
    condition = alltrue([
      for name, text in var.user_policies :
      can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", name)) && can(jsondecode(text).Statement)
    ])
    error_message = "user_policies: JSON policy documents with a Statement, by names that IAM allows."
  }

  validation {
    condition     = length(replace(join("", values(var.user_policies)), "/\\s/", "")) <= 10240
    error_message = "user_policies: AWS allows 10,240 characters of inline policies in a role, white space not counted."
  }
}

variable "instance_policies" {
  description = "What the group's instances may do: policy documents, JSON, by the name of the inline policy."
  type        = map(string)
  nullable    = false

  validation {
    condition = alltrue([
      for name, text in var.instance_policies :
      can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", name)) && can(jsondecode(text).Statement)
    ])
    error_message = "instance_policies: JSON policy documents with a Statement, by names that IAM allows."
  }

  validation {
    condition     = length(replace(join("", values(var.instance_policies)), "/\\s/", "")) <= 10240
    error_message = "instance_policies: AWS allows 10,240 characters of inline policies in a role, white space not counted."
  }
}

variable "user_managed_policies" {
  description = "What does not fit into the role of the people: policy documents, JSON, by the name of the managed policy."
  type        = map(string)
  nullable    = false
  default     = {}

  validation {
    condition = alltrue([
      for name, text in var.user_managed_policies :
      can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", name)) && can(jsondecode(text).Statement)
    ])
    error_message = "user_managed_policies: JSON policy documents with a Statement, by names that IAM allows."
  }

  validation {
    condition = (
      length(var.user_managed_policies) <= 10 &&
      alltrue([for text in values(var.user_managed_policies) : length(replace(text, "/\\s/", "")) <= 6144])
    )
    error_message = "user_managed_policies: AWS allows 10 managed policies on a role, of 6,144 characters each."
  }
}

variable "instance_managed_policies" {
  description = "What does not fit into the role of the instances: policy documents, JSON, by the name of the managed policy."
  type        = map(string)
  nullable    = false
  default     = {}

  validation {
    condition = alltrue([
      for name, text in var.instance_managed_policies :
      can(regex("^[A-Za-z0-9+=,.@_-]{1,128}$", name)) && can(jsondecode(text).Statement)
    ])
    error_message = "instance_managed_policies: JSON policy documents with a Statement, by names that IAM allows."
  }

  validation {
    condition = (
      length(var.instance_managed_policies) <= 10 &&
      alltrue([for text in values(var.instance_managed_policies) : length(replace(text, "/\\s/", "")) <= 6144])
    )
    error_message = "instance_managed_policies: AWS allows 10 managed policies on a role, of 6,144 characters each."
  }
}

variable "permissions_boundary" {
  description = "ARN of the policy that bounds the group's roles and user; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[^*]+$", var.permissions_boundary))
    error_message = "permissions_boundary: the ARN of a policy, such as arn:aws:iam::123456789012:policy/limit, or null."
  }
}

variable "budget" {
  description = <<-EOT
    What AWS itself watches of the group's bill; null for nothing (the embedded cloud sends no bills).
      amount: USD
      period: MONTHLY, QUARTERLY or ANNUALLY
      alerts: percentages at which the addresses are told, at most five
      emails: at most ten addresses
  EOT
  type = object({
    amount = string
    period = string
    alerts = list(number)
    emails = list(string)
  })
  default = null

  validation {
    condition = var.budget == null ? true : (
      can(regex("^[0-9]+([.][0-9]+)?$", var.budget.amount)) &&
      contains(["MONTHLY", "QUARTERLY", "ANNUALLY"], var.budget.period) &&
      length(var.budget.alerts) <= 5 && alltrue([for level in var.budget.alerts : level > 0]) &&
      length(var.budget.emails) <= 10
    )
    error_message = "budget: an amount such as 300, MONTHLY, QUARTERLY or ANNUALLY, at most 5 alerts and 10 addresses."
  }
}

variable "pgp_key" {
  description = "PGP public key, base64: gives the group an IAM user whose secret key is encrypted for it. Null for none."
  type        = string
  default     = null

  validation {
    condition     = var.pgp_key == null || can(regex("^[A-Za-z0-9+/\\s]+={0,2}\\s*$", var.pgp_key))
    error_message = "pgp_key: a PGP public key in base64, without armour, or null."
  }
}

variable "trust" {
  description = "ARNs of the principals that may assume the user role. Empty: whoever the account itself allows."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for arn in var.trust : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:[^*]+$", arn))])
    error_message = "trust: ARNs of IAM principals, such as arn:aws:iam::123456789012:role/web; never a wildcard."
  }
}

variable "tags" {
  description = "The deployment's own tags. Mayfly's tags win over them."
  type        = map(string)
  nullable    = false
  default     = {}
}
