from __future__ import annotations

from tests.crash.databases import postgres

__all__ = ["postgres"]
