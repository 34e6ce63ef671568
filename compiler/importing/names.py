"""Names of the original as ids of ours: valid, unique, and reversible, because each file says where its id comes from.

A name that is an id already stays as it is. Any other is spelt in the characters of an id and gets six digits of its
own hash, so that two names never meet in one id, whatever else is imported, before or after.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

from compiler import names

ID_LIMIT: Final = 32
DIGITS: Final = 6
ORIGIN: Final = "# NeuroCAAS name: "
"""Starts the line that keeps a name as it was, as a JSON string."""

_ID: Final = re.compile(r"[a-z][a-z0-9-]{1,30}[a-z0-9]")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PLACEHOLDER: Final = re.compile(
    r"\b(insert|placeholder|to ?do|fix ?me|change ?me|replace ?me|x{3,}|your|must follow|not in use|the e-?mail|"
    r"list of|strings|directory where|path to|a boolean|type of|iam role with|name here)\b|\bnote:|<[^>]*>|\{\{|\.\.\.",
    re.IGNORECASE,
)
MOST_WORDS: Final = 5
"""Words that the name of a group or a person may have; more are a sentence about what to write there."""


def make_id(name: str, *, most: int = ID_LIMIT) -> str:
    """Return the id for a name of the original, at most `most` characters; always the same for one name."""
    if _ID.fullmatch(name) and len(name) <= most and name not in names.RESERVED_IDS and not _kept_by_s3(name):
        return name
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    spelt = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not spelt[:1].isalpha() or not spelt.isascii():
        spelt = f"n-{spelt}".rstrip("-")
    return f"{spelt[: most - DIGITS - 1].rstrip('-')}-{digits}"


def _kept_by_s3(name: str) -> bool:
    return name.startswith("xn--") or name.endswith(("-s3alias", "--ol-s3"))


def is_email(text: str) -> bool:
    """Return whether a text has the form of an e-mail address."""
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None  # noqa: PLR2004 the longest there is


def is_placeholder(text: str) -> bool:
    """Return whether a text tells what to write in its place, rather than being it."""
    return not text.strip() or _PLACEHOLDER.search(text) is not None or len(text.split()) > MOST_WORDS


def clean(text: str, most: int) -> str:
    """Return text on one line, without what does not print, at most `most` characters."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:most].rstrip()


def origin_line(name: str) -> str:
    """Return the comment that keeps a name as it was."""
    return ORIGIN + json.dumps(name)


def read_origin(text: str) -> str | None:
    """Return the name that an imported file was made for; None for any other file."""
    for line in text.splitlines():
        if line.startswith(ORIGIN):
            try:
                name = json.loads(line.removeprefix(ORIGIN))
            except ValueError:
                return None
            return name if isinstance(name, str) else None
    return None
