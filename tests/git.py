"""Git for tests: as nobody in particular, signing nothing, whatever the person who runs them has set up."""

from __future__ import annotations

import subprocess
from pathlib import Path

SETTINGS = {
    "user.name": "t",
    "user.email": "t@example.org",
    "init.defaultBranch": "main",
    "commit.gpgsign": "false",
}


def git(folder: Path, *arguments: str) -> str:
    """Run Git in a folder and return what it printed."""
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    done = subprocess.run(["git", "-C", str(folder), *options, *arguments], check=True, capture_output=True, text=True)
    return done.stdout
