output "queue_url" {
  description = "URL of the queue that the watcher reads."
  value       = aws_sqs_queue.events.url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of events that could not be read."
  value       = aws_sqs_queue.dead_letters.url
}

output "platform_bucket" {
  description = "Name of the platform bucket."
  value       = aws_s3_bucket.platform.bucket
}

output "runner_role_arn" {
  description = "ARN of the role that watcher, worker and reaper run under."
  value       = aws_iam_role.runner.arn
}
