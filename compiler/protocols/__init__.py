"""Protocols: how a submission becomes tasks. Pure functions; machines, retries and money stay in the runner."""
