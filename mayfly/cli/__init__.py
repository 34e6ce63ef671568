"""The `mayfly` command: one file per audience, each command a thin door to the rooms below."""
