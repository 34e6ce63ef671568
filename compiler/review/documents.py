"""Policy documents: where resources keep them, what stands in them, and whether all of it is known yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from compiler.review.values import Change

DOCUMENTS: Final = ("policy", "assume_role_policy", "access_policy", "access_policies")
"""Attributes that hold a policy document."""
BLOCKS: Final = ("inline_policy",)
"""Blocks whose attribute `policy` holds one."""


def documents(attributes: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of a resource's documents, as far as they are known."""
    for name in DOCUMENTS:
        if isinstance(attributes.get(name), str):
            yield attributes[name]
    for name in BLOCKS:
        yield from (row["policy"] for row in _rows(attributes, name) if isinstance(row.get("policy"), str))


def is_unread(change: Change) -> bool:
    """Whether the code gives a resource a document whose text is known only after the apply."""
    waiting = change.unknown - change.computed
    if any(name in waiting and not change.after.get(name) for name in DOCUMENTS):
        return True
    return any(
        name in waiting and not all(row.get("policy") for row in _rows(change.after, name) or ({},)) for name in BLOCKS
    )


def statements(text: str) -> list[dict[str, Any]]:
    """Return the statements of a policy document; none when it is not one."""
    try:
        document = json.loads(text)
    except ValueError:
        return []
    found = document.get("Statement") if isinstance(document, dict) else None
    rows = found if isinstance(found, list) else [found]
    return [row for row in rows if isinstance(row, dict)]


def principals(statement: dict[str, Any]) -> list[str]:
    """Return whom a statement of a resource policy names."""
    said = statement.get("Principal")
    if isinstance(said, dict):
        return [one for value in said.values() for one in listed(value)]
    return listed(said)


def listed(value: Any) -> list[str]:  # noqa: ANN401 JSON
    """Return a JSON value that may be one text or a list of texts as a list."""
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _rows(attributes: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the blocks of a name that a resource has."""
    found = attributes.get(name)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
