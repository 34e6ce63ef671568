"""One JSON template of the original: read whatever it holds, and taken field by field.

What nobody takes is left over, and is kept in a comment of what is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from compiler import shape
from compiler.importing.findings import Notes
from compiler.importing.names import is_placeholder
from compiler.source import FieldPath, spell_path

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 30
_LARGEST: Final = 15
"""Digits of the largest number that is read; a longer one is a mistake, or an attack."""
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]{1,30}(\.[0-9]{1,30})?\s*")
_MISSING: Final = object()


class Kind(StrEnum):
    """What a template describes."""

    ANALYSIS = "analysis"
    PEOPLE = "people"


@dataclass(slots=True, kw_only=True)
class Template:
    """A template that was read.

    Attributes:
        kind: what it describes.
        data: what it says.
        notes: what there is to say about it.
        taken: paths of the fields that were translated, or reported and dropped.
    """

    kind: Kind
    data: dict[str, Any]
    notes: Notes
    taken: set[FieldPath] = field(default_factory=set)

    def find(self, *path: str | int) -> Any:  # noqa: ANN401 JSON has values of every type
        """Return a value without taking it; None when it is not there, or its parents are of the wrong type."""
        value = _follow(self.data, path)
        return None if value is _MISSING else value

    def take(self, *path: str | int) -> Any:  # noqa: ANN401
        """Return a value, and do not keep it as left over."""
        self.taken.add(path)
        return self.find(*path)

    def has(self, *path: str | int) -> bool:
        """Return whether a field is there."""
        return _follow(self.data, path) is not _MISSING

    def text(self, *path: str | int) -> str:
        """Take a text; empty when there is none, or it is none. Placeholders are reported and not taken."""
        value = self.find(*path)
        if not self.has(*path):
            return ""
        if not isinstance(value, str):
            self.notes.warn(spell_path(path), f"must be text, not {show(value)}; it is kept in a comment.")
            return ""
        if is_placeholder(value):
            self.notes.warn(spell_path(path), f"{show(value)} stands in place of a value.", "Fill it in.")
            return ""
        self.taken.add(path)
        return value

    def number(self, *path: str | int, least: int, most: int, unit: str) -> Decimal | None:
        """Take a number between two bounds; None when there is none. Text that holds one is read, and reported."""
        if not self.has(*path):
            return None
        value, where = self.find(*path), spell_path(path)
        number = as_number(value)
        if number is None:
            words = "stands in place of a number" if isinstance(value, str) else "is not a number"
            self.notes.warn(where, f"{show(value)} {words}; our default is used.", "Fill it in.")
            return None
        self.taken.add(path)
        if isinstance(value, str):
            self.notes.mention(where, f"is text that holds a number; read as {number.normalize():f}.")
        if not least <= number <= most:
            bounded = min(max(number, Decimal(least)), Decimal(most))
            self.notes.warn(where, f"{number:f} {unit} is outside {least} to {most}; {bounded} is used.")
            return bounded
        return number

    def rows(self, *path: str | int) -> Iterator[FieldPath]:
        """Yield the path of each mapping in a list; anything else is reported."""
        value = self.find(*path)
        if not self.has(*path):
            return
        if not isinstance(value, list):
            self.notes.warn(spell_path(path), f"must be a list, not {show(value)}; it is kept in a comment.")
            return
        for number, row in enumerate(value):
            if isinstance(row, dict):
                yield (*path, number)
            else:
                self.notes.warn(spell_path((*path, number)), f"must be a mapping, not {show(row)}; it is left out.")

    def texts(self, *path: str | int) -> list[str]:
        """Take a list of texts, or a single one; what is no text, or a placeholder, is reported and left over."""
        value = self.find(*path)
        if isinstance(value, str):
            return [one] if (one := self.text(*path)) else []
        if not self.has(*path):
            return []
        if not isinstance(value, list):
            self.notes.warn(spell_path(path), f"must be a list, not {show(value)}; it is kept in a comment.")
            return []
        return [one for number in range(len(value)) if (one := self.text(*path, number))]

    def left_over(self, *path: str | int) -> Any:  # noqa: ANN401
        """Return what was not taken below a path; None when nothing is left."""
        return self._rest(path, self.find(*path))

    def _rest(self, path: FieldPath, value: Any) -> Any:  # noqa: ANN401
        if path in self.taken:
            return None
        if isinstance(value, dict):
            kept = {key: rest for key, one in value.items() if (rest := self._rest((*path, key), one)) is not None}
            return kept or None
        if isinstance(value, list):
            rests = [rest for number, one in enumerate(value) if (rest := self._rest((*path, number), one)) is not None]
            return rests or None
        return value


def show(value: object) -> str:
    """Return a value as a message repeats it."""
    return str(value) if isinstance(value, Decimal) else shape.show(value)


def as_number(value: object) -> Decimal | None:
    """Return a JSON number, or one that a text holds; None when it is neither, or absurdly large."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            return None
        value = Decimal(value.strip())
    number = Decimal(value) if isinstance(value, int) else value
    if not isinstance(number, Decimal) or not number.is_finite() or abs(number.adjusted()) > _LARGEST:
        return Decimal(0) if isinstance(number, Decimal) and number == 0 else None
    return number


def _follow(value: Any, path: FieldPath) -> Any:  # noqa: ANN401
    for part in path:
        inside: Any = value if isinstance(value, dict | list) else {}
        there = part in inside if isinstance(inside, dict) else isinstance(part, int) and part < len(inside)
        if not there:
            return _MISSING
        value = inside[part]
    return value


def read_template(raw: bytes, notes: Notes) -> Template | None:
    """Return the template that a file holds, or None after saying why it holds none."""
    data = _parse(raw, notes)
    if data is _MISSING:
        return None
    if not isinstance(data, dict):
        notes.refuse("", f"holds {show(data)} where a mapping is expected; nothing was imported.")
        return None
    profile = any(
        isinstance(one, dict) and "Pipelines" in one for one in _list(_follow(data, ("UXData", "Affiliates")))
    )
    for path in (("Lambda",), ("Lambda", "LambdaConfig"), ("UXData",)):
        part = _follow(data, path)
        if part is not _MISSING and not isinstance(part, dict):
            notes.warn(spell_path(path), f"must be a mapping, not {show(part)}; it is kept in a comment.")
    if "PipelineName" in data or ("Lambda" in data and not profile and data.get("STAGE") != "webusercentric"):
        return Template(kind=Kind.ANALYSIS, data=data, notes=notes)
    if isinstance(data.get("UXData"), dict):
        return Template(kind=Kind.PEOPLE, data=data, notes=notes)
    notes.refuse(
        "", "is neither a stack_config_template.json (no PipelineName) nor a user_config_template.json (no UXData)."
    )
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _parse(raw: bytes, notes: Notes) -> Any:  # noqa: ANN401
    if len(raw) > MAX_BYTES:
        notes.refuse("", f"is larger than {MAX_BYTES // 1000} kB; nothing was imported.")
        return _MISSING
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        notes.refuse("", f"is not UTF-8 (byte {error.start}); nothing was imported.", "Save the file as UTF-8.")
        return _MISSING
    twice: list[str] = []

    def pair_up(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice.extend(sorted({key for key in keys if keys.count(key) > 1} if len(keys) != len(set(keys)) else ()))
        return dict(pairs)

    try:
        data = json.loads(text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=pair_up)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        notes.refuse("", f"is not JSON: {error.msg} at {where}; nothing was imported.", "Mend it there.")
        return _MISSING
    except (ValueError, RecursionError, ArithmeticError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
        notes.refuse("", f"is not JSON that can be read: {why}; nothing was imported.")
        return _MISSING
    if _is_deep(data):
        notes.refuse("", f"is nested more than {MAX_DEPTH} levels deep; nothing was imported.")
        return _MISSING
    for key in dict.fromkeys(twice):
        notes.warn(_mend(key), "is there twice in one mapping; the last one counts.", "Remove the other.")
    return _mend(data)


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON number")


def _mend(value: Any) -> Any:  # noqa: ANN401
    """Return data without halves of surrogate pairs, which JSON can spell and no file can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_mend(one) for one in value]
    return {_mend(key): _mend(one) for key, one in value.items()} if isinstance(value, dict) else value


def _is_deep(data: object) -> bool:
    """Return whether data is nested too deeply for those who walk through it."""
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True
