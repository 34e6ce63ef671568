"""Effects: events in, Terraform out, results and certificate back."""
