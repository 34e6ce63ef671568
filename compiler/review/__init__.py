"""What a change means: pure functions from Terraform's plan JSON and two platforms to words, rules and pages."""
