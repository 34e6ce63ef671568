"""Pure functions and values: YAML in, text out. No network, no subprocess, no clock."""
