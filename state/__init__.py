"""Durable facts: what a job is, what it did, what it cost. Imports nothing of the other rooms."""
