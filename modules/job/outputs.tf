output "instances" {
  description = "Instance ids by the number of the task."
  value       = { for number, instance in aws_instance.task : number => instance.id }
}

output "security_group" {
  description = "Id of the job's security group."
  value       = aws_security_group.job.id
}
