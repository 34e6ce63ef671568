"""Takes secrets out of plan values before anything else sees them.

What Terraform marks as sensitive goes; so does what only looks like a secret, because a comment on a pull request
is read by more people than the state is.
"""

from __future__ import annotations

import re
from typing import Any, Final

HIDDEN: Final = "(hidden)"
_NAMES: Final = re.compile(
    r"(^|_)(password|passwd|secret|secrets|token|private_key|access_key|credentials?|user_data|user_data_base64)($|_)",
    re.IGNORECASE,
)
_NOT_SECRET: Final = frozenset({"secret_arn", "kms_key_id", "user_data_replace_on_change", "token_key_id"})
_LOOKS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}\b"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}\b"
    r"|://[^/\s:@]+:[^/\s:@]+@"
)


def redact(value: Any, sensitive: Any = False, name: str = "") -> Any:  # noqa: ANN401 JSON of every shape
    """Return a JSON value with secrets replaced.

    Args:
        value: of any shape.
        sensitive: Terraform's marks: True for all of it, or a structure like the value's with True at the leaves.
        name: the attribute it stands in.
    """
    if value is None:
        return None
    if sensitive is True or (_is_secret_name(name) and not isinstance(value, bool)):
        return HIDDEN
    if isinstance(value, dict):
        marks = sensitive if isinstance(sensitive, dict) else {}
        return {key: redact(one, marks.get(key, False), key) for key, one in value.items()}
    if isinstance(value, list):
        marks_list = sensitive if isinstance(sensitive, list) else []
        padded = [*marks_list, *([False] * (len(value) - len(marks_list)))]
        return [redact(one, mark) for one, mark in zip(value, padded, strict=False)]
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """Return text with what looks like a secret replaced: also for Terraform's own error messages."""
    return _LOOKS.sub(HIDDEN, text)


def _is_secret_name(name: str) -> bool:
    return name not in _NOT_SECRET and bool(_NAMES.search(name))
