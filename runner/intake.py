"""Uploaded bytes in, values out: what a submit file asks for. Pure; nothing is looked up.

Everything here was written by a user, so each rule ends in one sentence for that user, and no rule trusts another.
The shape of each field is what compiler/schema/submission.schema.json says.
Fields that NeuroCAAS's clients add beside the known ones are ignored; one that looks like a misspelt known field is
refused, because ignoring it would run something else than was meant.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from jsonschema.exceptions import ValidationError

from compiler.shape import check_field, load_schema
from runner.config_file import parse_config
from state.errors import AccessError, SubmissionError
from state.keys import ResultKeys, job_folder, parse_submit_key, prefix, results_of, split_url
from state.submission import ObjectVersion, Submission

__all__ = [
    "SIZE_LIMIT",
    "check_name",
    "parse_config",
    "parse_submission",
    "read_fields",
    "results_of_unread",
    "unknown_fields",
]

SIZE_LIMIT = 1024 * 1024
"""Bytes of a submit file."""
SCHEMA: Final = "submission"
FIELDS: Final = tuple(load_schema(SCHEMA)["properties"])
FOLDERS = ("inputs", "configs", "results")
"""Where datasets and configs may lie in a group's prefix: where its instances may read."""

_KEY_BYTES = 1024  # S3's own limit
_NAME_BYTES = 200  # a file system allows 255, and status files put a few characters around a name
_SHOWN = 60
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_submission(body: bytes, source: ObjectVersion) -> Submission:
    """Read a submit file.

    Args:
        body: its content; the caller may cut it off anywhere beyond `SIZE_LIMIT`.
        source: the object it was read from; its key says whose it is.

    Raises:
        SubmissionError: it cannot be understood; the reason is for the person who uploaded it.
        AccessError: it names something outside the group's own prefix.
    """
    submit = parse_submit_key(source.key)
    if submit is None:
        raise SubmissionError(f"{show(source.key)} is not a submit file: its key must end in submissions/…submit.json.")
    check_name(submit.name, "The name of the submit file")
    fields = read_fields(body)
    _refuse_misspelt(fields)
    timestamp = _timestamp(fields)
    config: str = _required(fields, "configname")
    named: str | list[str] = _required(fields, "dataname")
    datasets = (named,) if isinstance(named, str) else tuple(named)
    instance_type = _optional(fields, "instance_type")
    outside = _optional(fields, "resultpath")
    if outside is None:
        for key in datasets:
            _check_own_key(key, submit.group, "dataname", source.bucket)
        _check_own_key(config, submit.group, "configname", source.bucket)
        results = results_of(bucket=source.bucket, group=submit.group, name=submit.name, timestamp=timestamp)
        data_bucket = source.bucket
    else:
        data_bucket, root = _outside_url(outside.rstrip("/") + "/", "resultpath")
        folder = job_folder(submit.name, source.bucket, timestamp)
        results = ResultKeys(bucket=data_bucket, root=f"{root}{folder}/")
        datasets = tuple(_outside_key(url, "dataname", data_bucket) for url in datasets)
        config = _outside_key(config, "configname", data_bucket)
    if config.endswith("/"):
        raise SubmissionError(f"configname is {show(config)}, a folder, but must be one file.")
    _refuse_repeated(datasets, results)
    return Submission(
        source=source,
        group=submit.group,
        name=submit.name,
        datasets=datasets,
        config=config,
        timestamp=timestamp,
        instance_type=instance_type,
        data_bucket=data_bucket,
        results=results,
        bypass=outside is not None,
    )


def results_of_unread(body: bytes, source: ObjectVersion, job: str) -> ResultKeys:
    """Return where the certificate of a submit file goes that could not be read; never fails.

    Clients wait for the folder that its timestamp names, so the timestamp is used when it can be made out, and our
    job id where it cannot. Results never leave the analysis's bucket: the file is not to be trusted.
    """
    submit = parse_submit_key(source.key)
    try:
        name = check_name(submit.name, "name") if submit else ""
    except SubmissionError:
        name = ""
    try:
        timestamp = _timestamp(read_fields(body))
    except SubmissionError:
        timestamp = job
    group = submit.group if submit else source.key.partition("/")[0]
    found = results_of(bucket=source.bucket, group=group, name=name, timestamp=timestamp)
    if len(found.end.encode()) + _NAME_BYTES < _KEY_BYTES:
        return found
    return results_of(bucket=source.bucket, group=group, name="", timestamp=job)


def unknown_fields(body: bytes) -> tuple[str, ...]:
    """Return the fields of a submit file that nothing reads, sorted; for a note in the certificate."""
    return tuple(sorted(show(name) for name in read_fields(body) if name not in FIELDS))


def check_name(text: str, what: str) -> str:
    """Return `text` when it can be part of a key, a file name and a line of a log.

    Raises:
        SubmissionError: it has a slash, a control character, or characters that turn the direction of text.
    """
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _BIDI:
            raise SubmissionError(f"{what} has the control character U+{ord(character):04X}: {show(text)}. Rename it.")
    if "/" in text or text in {".", ".."}:
        raise SubmissionError(f"{what} is {show(text)}, but must be a plain name without slashes.")
    return text


def show(value: object) -> str:
    """Return a user's value for a sentence: quoted, on one line, cut when it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def read_fields(body: bytes, what: str = "The submit file") -> dict[str, Any]:
    """Return the fields of a JSON object that a user wrote.

    Raises:
        SubmissionError: it is none, in a sentence that begins with `what`.
    """
    if len(body) > SIZE_LIMIT:
        raise SubmissionError(f"{what} is larger than {SIZE_LIMIT // 1024} KiB. Is it the right file?")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{what} is not UTF-8 text (byte {error.start}).") from None
    if not text.strip():
        raise SubmissionError(f"{what} is empty.")
    try:
        # Decimal keeps a timestamp such as 1605304194.120 as it was written.
        found = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SubmissionError(f"{what} is not valid JSON: {error.msg} at {where}.") from None
    except RecursionError:
        raise SubmissionError(f"{what} is nested too deeply. It needs no nesting at all.") from None
    except ValueError:
        raise SubmissionError(f"{what} has a number that is too long to be meant.") from None
    if not isinstance(found, dict):
        raise SubmissionError(f"{what} must be a JSON object, {{…}}, but is {kind_of(found)}.")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise SubmissionError(f"The file has {show(repeated[0])} twice. Leave one.")
    return dict(pairs)


def _refuse_constant(text: str) -> None:
    raise SubmissionError(f"The file is not valid JSON: {text} is not a value that JSON has.")


def kind_of(value: object) -> str:
    """Return what a JSON value is, in words."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "text"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def _refuse_misspelt(fields: dict[str, Any]) -> None:
    for name in fields:
        near = get_close_matches(name.lower().replace("-", "_"), FIELDS, n=1, cutoff=0.8)
        if name not in FIELDS and near and near[0] not in fields:
            raise SubmissionError(f"The submit file has a field {show(name)}; did you mean {near[0]}?")


def _required(fields: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - what the schema says it is
    """Return the value of a field that must be there, in the shape that the schema gives it."""
    value = fields.get(name)
    if value is None:
        wanted = load_schema(SCHEMA)["properties"][name]["x-wanted"]
        raise SubmissionError(f"The submit file has no {name}. It must give {wanted}.")
    _check_shape(name, value)
    return value


def _optional(fields: dict[str, Any], name: str) -> str | None:
    value: str | None = fields.get(name)
    _check_shape(name, value)
    if not value:
        return None
    check_name(value.replace("/", ""), name)
    return value


def _check_shape(name: str, value: object) -> None:
    """Refuse a value that differs from the schema, in a sentence about the first difference."""
    for error in check_field(SCHEMA, name, value):
        raise SubmissionError(_in_words(name, error))


def _in_words(name: str, error: ValidationError) -> str:
    value: Any = error.instance
    part: Any = error.schema
    if error.validator == "minItems":
        return f"{name} is an empty list. Give at least one dataset."
    if error.validator == "maxItems":
        return f"{name} has {len(value)} entries, but at most {error.validator_value} are possible."
    if error.validator == "maxLength":
        return f"{name} has {len(value)} characters, but at most {error.validator_value} are allowed."
    place = f"Entry {int(error.path[0]) + 1} of {name}" if error.path else name
    return f"{place} is {show(value)}, but must be {part['x-wanted']}."


def _timestamp(fields: dict[str, Any]) -> str:
    value = fields.get("timestamp")
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        check_name(value, "timestamp")  # says which character is wrong, which the schema's pattern cannot
    return str(_required({"timestamp": value}, "timestamp"))


def _check_key(key: str, field: str) -> None:
    """Refuse keys that a file system would read differently from S3."""
    check_name(key.replace("/", ""), field)
    parts = key.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise SubmissionError(f'{field} has {show(key)}, but a key may not have "..", "." or an empty part.')
    if len(key.encode()) > _KEY_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
        text = f"{field} has {show(key)}, which is too long: at most {_NAME_BYTES} bytes a name and {_KEY_BYTES} in all"
        raise SubmissionError(f"{text}.")


def _check_own_key(key: str, group: str, field: str, bucket: str) -> None:
    """Refuse a key that is not in one of the group's own folders."""
    if split_url(key) is not None or re.match(r"^[a-z]{2,6}://", key):
        way_out = f"give its key in the bucket {bucket}, or a resultpath for storage of your own"
        raise SubmissionError(f"{field} has the URL {show(key)}: {way_out}.")
    _check_key(key, field)
    if not key.startswith(f"{group}/"):
        raise AccessError(f"{field} has {show(key)}, which is not yours: it must begin with {group}/.")
    if not any(key.startswith(prefix(group, folder)) and key != prefix(group, folder) for folder in FOLDERS):
        folders = ", ".join(prefix(group, folder) for folder in FOLDERS)
        raise SubmissionError(f"{field} has {show(key)}, but must be a file or folder inside one of {folders}.")


def _outside_url(url: str, field: str) -> tuple[str, str]:
    found = split_url(url)
    if found is None or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", found[0]):
        raise SubmissionError(
            f"{field} has {show(url.rstrip('/'))}. With a resultpath, everything must be a URL like s3://bucket/key."
        )
    if found[1]:
        _check_key(found[1], field)
    return found


def _outside_key(url: str, field: str, bucket: str) -> str:
    found, key = _outside_url(url, field)
    if found != bucket:
        raise SubmissionError(f"{field} has {show(url)}, but resultpath is in the bucket {bucket}: use one bucket.")
    if not key:
        raise SubmissionError(f"{field} has {show(url)}, but must name a file or a folder inside the bucket.")
    return key


def _refuse_repeated(datasets: tuple[str, ...], results: ResultKeys) -> None:
    """Refuse a dataset that is there twice, which would be paid for twice; a slash at the end makes no difference."""
    keys = Counter(key.rstrip("/") for key in datasets)
    for key, count in keys.items():
        if count > 1:
            raise SubmissionError(f"dataname has {show(key)} {count} times. Give each dataset once.")
        name = key.rpartition("/")[2]
        # Twins are told apart by their number in front.
        if len(results.status(f"{len(datasets)}-{name}").encode()) > _KEY_BYTES:
            raise SubmissionError(f"The name {show(name)} is too long for the folder of its results. Shorten it.")
