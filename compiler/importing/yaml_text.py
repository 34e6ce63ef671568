"""Writes plain values as the YAML that `compiler/source.py` reads back unchanged, with comments around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Text that some reader of YAML takes for something else."""
COMMENT_LIMIT: Final = 60_000
"""Characters of what is kept in a comment: a file of ours may not be larger than a megabyte."""


def spell(value: object) -> str:
    """Return a scalar, or a short list, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else quote(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(spell, value))}]"
    raise TypeError(f"{type(value).__name__} is no scalar of a blueprint")


def quote(text: str) -> str:
    """Return text in double quotes, with every character that does not print escaped."""
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 half of a pair; UTF-8 has no place for it
        return "\N{REPLACEMENT CHARACTER}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def write_yaml(data: Mapping[str, Any]) -> str:
    """Return a mapping as YAML, in its own order."""
    return "".join(f"{line}\n" for line in _mapping(data))


def _mapping(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield f"{spell(key)}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            yield f"{spell(key)}:"
            for one in value:
                first, *rest = _mapping(one)
                yield f"  - {first}"
                yield from (f"    {line}" for line in rest)
        else:
            yield f"{spell(key)}: {spell(value)}"


def comment(title: str, kept: object) -> str:
    """Return what could not be translated as a block of comments: JSON, because that is what it was."""
    text = json.dumps(kept, indent=1, ensure_ascii=True, default=str)
    lines = (text[:COMMENT_LIMIT] + "\n… the rest is in the original." if len(text) > COMMENT_LIMIT else text).split(
        "\n"
    )
    return "".join(f"# {line}".rstrip() + "\n" for line in (title, *lines))
