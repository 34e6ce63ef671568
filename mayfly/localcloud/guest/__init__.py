"""Scripts that become an instance: run by path, outside and inside the sandbox, with the standard library only."""
