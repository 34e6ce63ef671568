"""The environments that come with Mayfly: only these run where nothing keeps an instance apart from the machine.

They are named by the digest of their recipe, so that a copy in any project counts and a changed one does not.
"""

from __future__ import annotations

BUNDLED = {"pca": "7c608c45bbfd8815127b0cdd342ffaf5bb07917e805da8f716cb3728bcf9ab6f"}
"""Digest of each analysis's recipe; a test compares it with the recipe in blueprints/."""


def is_bundled(digest: str) -> bool:
    """Whether a recipe's digest is that of one that comes with Mayfly."""
    return digest in BUNDLED.values()
