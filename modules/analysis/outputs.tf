output "bucket" {
  description = "Name of the analysis's bucket."
  value       = aws_s3_bucket.data.bucket
}

output "bucket_arn" {
  description = "ARN of the analysis's bucket."
  value       = aws_s3_bucket.data.arn
}
