"""Whether the condition of a policy statement really narrows it: some of them only look as if they did."""

from __future__ import annotations

from typing import Any, Final

from compiler.review.documents import listed

CALLERS: Final = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceorgid",
        "aws:sourcevpc",
        "aws:sourcevpce",
    }
)
"""Keys that tell who calls, lower case. An address is not among them: it can be shared, and it is not a name."""
SERVICES: Final = frozenset({"iam:passedtoservice"})
_OPERATORS: Final = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})
"""Those that fail when the key is missing. `…IfExists` and `ForAllValues:` do not; `…Not…` names only who may not."""
_ARN_PARTS: Final = 6


def is_narrow(statement: dict[str, Any], keys: frozenset[str]) -> bool:
    """Whether a statement holds only for named values of at least one of these keys."""
    conditions = statement.get("Condition")
    return isinstance(conditions, dict) and any(
        operator.casefold().removeprefix("foranyvalue:") in _OPERATORS
        and isinstance(tests, dict)
        and any(key.casefold() in keys and _names(listed(values)) for key, values in tests.items())
        for operator, tests in conditions.items()
    )


def _names(values: list[str]) -> bool:
    """Whether values name somebody: there are some, and none of them stands for anybody."""
    return bool(values) and all(_is_name(value) for value in values)


def _is_name(value: str) -> bool:
    """Whether a value has no wildcard, or is an ARN whose account, or whose bucket, has none."""
    if not _is_open(value):
        return bool(value)
    parts = value.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or _is_open(parts[2]):
        return False
    account, resource = parts[4:]
    return not _is_open(account) if account else not _is_open(resource.split("/")[0])


def _is_open(text: str) -> bool:
    return "*" in text or "?" in text
