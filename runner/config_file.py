"""Config files: YAML or JSON that a user wrote, read as plain values without giving it any power.

YAML is read as its 1.1 rules say, with two exceptions that users of the analyses expect: 1e-4 is a number, and a date
is text. Aliases are refused (a few lines of them can grow to gigabytes), as is every tag that is not plain data.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

import yaml

from state.errors import SubmissionError

CONFIG_BYTES = 1024 * 1024
_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """The safe loader, without dates, with 1e-4, and strict about keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's way to configure a loader
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice: YAML would silently take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key.tag)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            seen.add(name)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_config(body: bytes, key: str) -> dict[str, Any]:
    """Read a config file; an empty one is an empty config, which means every default.

    Args:
        body: its content; the caller may cut it off anywhere beyond `CONFIG_BYTES`.
        key: its key or file name; the ending tells JSON from YAML.

    Returns:
        Text keys and plain JSON values.

    Raises:
        SubmissionError: it cannot be read; the reason is for the person who wrote it.
    """
    name = key.rpartition("/")[2]
    if len(body) > CONFIG_BYTES:
        raise SubmissionError(f"The config file {name} is larger than {CONFIG_BYTES // 1024} KiB. Is it the right one?")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"The config file {name} is not UTF-8 text (byte {error.start}).") from None
    lower = name.lower()
    if lower.endswith(".json"):
        found = _read_json(text, name)
    elif lower.endswith((".yaml", ".yml")):
        found = _read_yaml(text, name)
    else:
        raise SubmissionError(f"The config file {name} must end in .yaml, .yml or .json.")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SubmissionError(f"The config file {name} must hold parameters (name: value), but holds something else.")
    _check_plain(found, "", name)
    return found


def _read_json(text: str, name: str) -> object:
    if not text.strip():
        return None

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) < len(found):
            keys = [key for key, _ in found]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise SubmissionError(f"The config file {name} has {twice!r} twice. Leave one.")
        return dict(found)

    try:
        return cast("object", json.loads(text, object_pairs_hook=pairs))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SubmissionError(f"The config file {name} is not valid JSON: {error.msg} at {where}.") from None
    except (RecursionError, ValueError):
        raise SubmissionError(f"The config file {name} is nested too deeply, or has a number far too long.") from None


def _read_yaml(text: str, name: str) -> object:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
                raise SubmissionError(f"The config file {name} uses an alias (*){line}. Write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH:
                raise SubmissionError(f"The config file {name} is nested more than {_DEPTH} levels deep.")
        return cast("object", yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SubmissionError(f"The config file {name} is not valid YAML: {error.problem}{where}.") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise SubmissionError(f"The config file {name} is not valid YAML: {problem}.") from None
    except (RecursionError, ValueError, TypeError):
        raise SubmissionError(
            f"The config file {name} is nested too deeply, or has a value YAML cannot read."
        ) from None


def _check_plain(value: object, path: str, name: str, depth: int = 0) -> None:
    """Refuse what JSON cannot say: the values travel to the instance as JSON."""
    where = path or "it"
    if depth > _DEPTH:
        raise SubmissionError(f"The config file {name} is nested more than {_DEPTH} levels deep.")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise SubmissionError(f"The config file {name} has the key {key!r}. Put it into quotes: keys are text.")
            _check_text(key, f"a key of {where}", name)
            _check_plain(inner, f"{path}.{key}" if path else key, name, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_plain(inner, f"{path}[{number}]", name, depth + 1)
    elif isinstance(value, str):
        _check_text(value, where, name)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SubmissionError(f"In the config file {name}, {where} is {value}, but must be a finite number.")
    elif not isinstance(value, (bool, int, float)) and value is not None:
        kind = type(value).__name__
        raise SubmissionError(f"In the config file {name}, {where} is a {kind}; only plain values are possible.")


def _check_text(text: str, where: str, name: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise SubmissionError(f"In the config file {name}, {where} has a character that text cannot have.")
