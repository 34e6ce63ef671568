"""What a provider says of itself, cut down to the kinds of resources that a root has.

The AWS provider describes 1,500 kinds in 5 MB. Terraform reads all of it at every start, in half of the time that a
small plan takes. Only the outer layer of the message is looked at here: what describes a kind is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

KINDS: Final = frozenset({2, 3, 7, 8})
"""Fields of GetProviderSchema's answer, in versions 5 and 6 of Terraform's plugin protocol, that hold a description for
each name: resources, data sources, functions, ephemeral resources."""
NAME: Final = 1
"""The field of such an entry that holds the name."""
BYTES: Final = 2
"""The wire type of strings and messages in protocol buffers; the answer has no other on its outer layer."""
BLOCK: Final = re.compile(r'^\s*(?:resource|data|ephemeral)\s+"(\w+)"', re.MULTILINE)


def kinds_of(folder: Path) -> set[str]:
    """Return the kinds of resources and data sources that the code of a root and of its modules names."""
    return {name for file in folder.rglob("*.tf") for name in BLOCK.findall(file.read_text(encoding="utf-8"))}


def trim(schema: bytes, kinds: Collection[str]) -> bytes:
    """Return the answer with the descriptions of these kinds only; functions and all that is no kind stay out or stay.

    Args:
        schema: GetProviderSchema's answer as it came.
        kinds: names of resources and data sources.

    Raises:
        ValueError: it is no such answer.
    """
    wanted = {name.encode() for name in kinds}
    kept = bytearray()
    for field, start, content, end in _fields(schema):
        if field not in KINDS or _name(schema[content:end]) in wanted:
            kept += schema[start:end]
    return bytes(kept)


def _name(entry: bytes) -> bytes:
    return next((entry[content:end] for field, _, content, end in _fields(entry) if field == NAME), b"")


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, and where it, its content and what follows it begin."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _number(message, at)
        if tag & 7 != BYTES:
            raise ValueError(f"a field of wire type {tag & 7} at byte {start}")
        length, at = _number(message, at)
        if at + length > len(message):
            raise ValueError(f"a field at byte {start} that ends behind the message")
        yield tag >> 3, start, at, at + length
        at += length


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length number at a place, and the place behind it."""
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("a number that ends behind the message")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says "more follows"
            return value, at
