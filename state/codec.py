"""Values to JSON and back, for the ledger's columns and for files that programs read.

cattrs does the work; this only says how the types that JSON lacks are spelled: Decimal as text (never a float),
times as ISO 8601 in UTC.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TypeVar

from cattrs import Converter

T = TypeVar("T")


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=False)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    return converter


def dump(value: object) -> str:
    """Return `value`, a dataclass of ours, as compact JSON with sorted keys."""
    return json.dumps(_converter().unstructure(value), sort_keys=True, separators=(",", ":"))


def load(kind: type[T], text: str) -> T:
    """Return the value of class `kind` that `dump` wrote; keys that the class no longer has are ignored."""
    return _converter().structure(json.loads(text), kind)
