output "user_role_arn" {
  description = "ARN of the role of the group's people."
  value       = aws_iam_role.user.arn
}

output "instance_role_arn" {
  description = "ARN of the role of the group's instances."
  value       = aws_iam_role.instance.arn
}

output "instance_profile" {
  description = "Name of the instance profile of the group's instances."
  value       = aws_iam_instance_profile.instance.name
}

output "access_key" {
  description = "Id of the access key of the group's IAM user; null when it has none."
  value       = one(aws_iam_access_key.member[*].id)
}

output "encrypted_secret" {
  description = "Secret of that key, encrypted for the group's PGP key, base64; null when there is none."
  value       = one(aws_iam_access_key.member[*].encrypted_secret)
}
