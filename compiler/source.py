"""YAML as data that remembers where each value stands.

Reads the plain part of YAML: mappings, lists and scalars as YAML 1.2 resolves them (`yes` and `012` are not what
they were in 1.1). Anchors, aliases, tags and second documents are refused: a blueprint needs none of them, and
aliases are how a kilobyte becomes a billion nodes.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from state.errors import Place, SourceError, SourcesError

try:  # libyaml: ten times faster
    from yaml import CSafeLoader as Loader
except ImportError:  # a PyYAML built without it reads the same
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 40

FieldPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_OTHER_BASE = re.compile(r"0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNCLOSED = "Look there and in the line above for a quote, a bracket or a colon that is missing or too many."
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML file.

    Attributes:
        file: its path as messages show it, relative to the project.
        data: what it says, in plain Python.
        values: where each value starts, (line, column), by its path.
        keys: where each key of a mapping starts, by the path of its value.
    """

    file: str
    data: Any
    values: dict[FieldPath, tuple[int, int]] = field(default_factory=dict)
    keys: dict[FieldPath, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: FieldPath = (), *, key: bool = False) -> Place:
        """Return where a value (or its key) stands; for one that is not there, where its parent stands."""
        marks = self.keys if key else self.values
        while path and path not in marks:
            path = path[:-1]
            marks = self.values
        line, column = marks.get(path, (0, 0))
        return Place(file=self.file, line=line, column=column)

    def error(self, message: str, path: FieldPath = (), *, rule: str, way_out: str, key: bool = False) -> SourceError:
        """Return an error about a value (or its key)."""
        place = self.place(path, key=key)
        return SourceError(message, place=place, field=spell_path(path), way_out=way_out, rule=rule)


def spell_path(path: FieldPath) -> str:
    """Return a path as people write it: `resources[0].instance_type`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path, *, file: str) -> Document:
    """Read a YAML file; `file` is its name in messages.

    Raises:
        SourcesError: it cannot be read, is too large, or is not the plain YAML described above.
    """
    place = Place(file=file)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            error = SourceError(
                "is not a regular file.",
                place=place,
                way_out="Links are not followed: put a file here.",
                rule="file",
            )
            raise SourcesError([error])
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        way_out = (
            "Write it, or run in the folder that has it."
            if isinstance(error, FileNotFoundError)
            else "See who may read it."
        )
        problem = SourceError(f"cannot be read: {error.strerror}.", place=place, way_out=way_out, rule="file")
        raise SourcesError([problem]) from error
    return parse_document(raw, file=file)


def parse_document(raw: bytes, *, file: str) -> Document:
    """Parse the bytes of a YAML file; `file` is its name in messages.

    Raises:
        SourcesError: it is too large, or is not the plain YAML described above.
    """
    text = _decode(raw, file=file)
    composer = _Composer(file=file)
    try:
        data = composer.compose(yaml.parse(text, Loader=Loader))
    except yaml.YAMLError as error:
        raise SourcesError([_explain(error, text, file=file)]) from error
    if composer.errors:
        raise SourcesError(composer.errors)
    return Document(file=file, data=data, values=composer.values, keys=composer.keys)


def _decode(raw: bytes, *, file: str) -> str:
    """Return the text of a file that is small enough, UTF-8, and free of NUL."""
    if len(raw) > MAX_BYTES:
        message, way_out = (
            f"is larger than {MAX_BYTES // 1000} kB.",
            "Files of a platform are a few kB: see what got in.",
        )
        raise SourcesError([SourceError(message, place=Place(file=file), way_out=way_out, rule="file")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        place = Place(file=file, line=line, column=column)
        problem = SourceError("is not UTF-8.", place=place, way_out="Save the file as UTF-8.", rule="encoding")
        raise SourcesError([problem]) from error
    if "\0" in text:
        at = text.index("\0")
        place = Place(file=file, line=text.count("\n", 0, at) + 1, column=at - text.rfind("\n", 0, at))
        raise SourcesError([SourceError("holds a NUL character.", place=place, way_out="Remove it.", rule="encoding")])
    return text


class _Composer:
    """Turns parser events into plain values and remembers where they stood."""

    def __init__(self, *, file: str) -> None:
        self.file = file
        self.values: dict[FieldPath, tuple[int, int]] = {}
        self.keys: dict[FieldPath, tuple[int, int]] = {}
        self.errors: list[SourceError] = []

    def compose(self, events: Iterator[Any]) -> Any:  # noqa: ANN401 YAML has values of every type
        """Return the value of the only document; None when there is none."""
        data, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fatal(
                        "a second document starts here.", event, "Keep one document per file: remove `---`."
                    )
                data = self._value(next(events), events, ())
        return data

    def _value(self, event: Any, events: Iterator[Any], path: FieldPath) -> Any:  # noqa: ANN401
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._fatal("anchors and aliases are not read.", event, "Write the value out.", path)
        if event.tag is not None and (not isinstance(event, yaml.ScalarEvent) or not any(event.implicit)):
            raise self._fatal(f"the tag {event.tag!r} is not read.", event, "Remove it.", path)
        if len(path) > MAX_DEPTH:
            raise self._fatal(f"is nested more than {MAX_DEPTH} levels deep.", event, "Write it flatter.", path[:3])
        self.values[path] = _position(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, path)
        return resolve_scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self, events: Iterator[Any], path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
                raise self._fatal("a key must be plain text.", event, "Put it in quotes.", path)
            key, at = event.value, (*path, event.value)
            twice = key in result
            if twice:
                line = self.keys[at][0]
                self.errors.append(
                    self._error(f"the key stands here and in line {line}.", event, "Keep one.", at, "duplicate-key")
                )
            value = self._value(next(events), events, at)
            if not twice:
                self.keys[at] = _position(event)
                result[key] = value
        return result

    def _list(self, events: Iterator[Any], path: FieldPath) -> list[Any]:
        result: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            result.append(self._value(event, events, (*path, len(result))))
        return result

    def _error(self, message: str, event: Any, way_out: str, path: FieldPath, rule: str) -> SourceError:  # noqa: ANN401
        line, column = _position(event)
        place = Place(file=self.file, line=line, column=column)
        return SourceError(message, place=place, field=spell_path(path), way_out=way_out, rule=rule)

    def _fatal(self, message: str, event: Any, way_out: str, path: FieldPath = ()) -> SourcesError:  # noqa: ANN401
        return SourcesError([*self.errors, self._error(message, event, way_out, path, "plain-yaml")])


def _position(event: Any) -> tuple[int, int]:  # noqa: ANN401
    return event.start_mark.line + 1, event.start_mark.column + 1


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means in YAML 1.2: null, true/false, a number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number - number == 0:  # an infinity has no place in JSON: it stays text and fails its type
            return number
    return text


def _explain(error: yaml.YAMLError, text: str, *, file: str) -> SourceError:
    """Return a parser's complaint with its place, and the way out where there is a usual one."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    if mark is None:
        way_out = "Save it as plain text."
        return SourceError(f"is not YAML: {problem}.", place=Place(file=file), way_out=way_out, rule="yaml")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    way_out = "Indent with spaces: YAML allows no tabs there." if "\t" in indent else _UNCLOSED
    place = Place(file=file, line=mark.line + 1, column=mark.column + 1)
    return SourceError(f"is not YAML: {problem}.", place=place, way_out=way_out, rule="yaml")
