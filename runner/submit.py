"""Submitting, from the user's side: datasets and config go up first, the submit file that starts the job goes last.

It needs no more than a user may do: list, and put. So what is already there is judged by its listing (a user may not
read inputs), and nothing is ever written over: a dataset of the same name and content is used as it is, one of the
same name and other content goes up under a name with a piece of its hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.model import Platform
from runner.admission import find_blueprint, read_request
from runner.cloud import Cloud, OnBytes
from runner.config_file import parse_config
from runner.datasets import check_kind, check_size, refuse
from runner.fingerprint import fingerprint
from runner.intake import check_name, parse_submission
from runner.machines import check_cost, check_count, choose
from runner.pricing import hourly_price
from state.errors import UsageError
from state.keys import SUBMIT, ResultKeys, prefix
from state.submission import ObjectVersion

_DIGITS = 8
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A submission that is on its way.

    Attributes:
        bucket: the analysis's bucket.
        submit_key: the file that started the job.
        version: of that file; with bucket and key it is the job's identity.
        results: where the results will be.
        datasets: keys of the datasets, in the order given.
        config: key of the config file.
    """

    bucket: str
    submit_key: str
    version: str
    results: ResultKeys
    datasets: tuple[str, ...]
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """A dataset on this machine: its path, its name, and its files with their names inside it ("" for a file)."""

    path: Path
    name: str
    files: tuple[tuple[str, Path], ...]

    @property
    def is_folder(self) -> bool:
        return self.files[:1] != (("", self.path),)

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for _, path in self.files)


def measure(datasets: Sequence[Path]) -> int:
    """Return how many bytes `submit` will report for these datasets."""
    return sum(_local(path).size for path in datasets)


def submit(
    cloud: Cloud,
    *,
    platform: Platform,
    group: str,
    analysis: str,
    datasets: Sequence[Path],
    config: Path | Mapping[str, Any] | None,
    now: datetime,
    instance_type: str | None = None,
    name: str = "",
    timestamp: str | None = None,
    on_bytes: OnBytes | None = None,
    check: bool = True,
) -> Submitted:
    """Upload datasets and a config, and start a job on them.

    Args:
        cloud: acts as the group.
        platform: what the YAML files say.
        group: id of the group.
        analysis: id of the blueprint.
        datasets: files, or folders where the analysis takes folders; one task each.
        config: a config file, its content, or None for every default.
        now: UTC; makes the timestamp when none is given.
        instance_type: one that the blueprint lists; None for its first.
        name: becomes part of the result folder's name.
        timestamp: unique text that names the result folder.
        on_bytes: told of every byte that moved, or need not move because it is there.
        check: whether to refuse here what the platform would refuse later.

    Raises:
        UsageError: a file or a name given cannot be used.
        SubmissionError: the platform would refuse the job; the reason says what to change.
        CloudError: an upload failed; no job was started.
    """
    if analysis not in platform.blueprints:
        raise UsageError(
            f"There is no analysis {analysis}. These are known: {', '.join(platform.blueprints) or 'none'}."
        )
    if not datasets:
        raise UsageError("No dataset is given. Name at least one file.")
    bucket = platform.bucket(analysis)
    found = [_local(path) for path in datasets]
    config_name, config_body = _read_config(config)
    if check:
        content = parse_config(config_body, config_name)
        _check(platform, bucket, group, datasets=found, config=content, instance_type=instance_type)
    stamp = timestamp or f"{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
    # A folder of its own for each submission: two people who submit at once never write over each other's file.
    file = f"{check_name(name, 'The name of the job')}_{SUBMIT}" if name else SUBMIT
    submit_key = f"{prefix(group, 'submissions')}{check_name(stamp, 'timestamp')}/{file}"
    config_key = f"{prefix(group, 'configs')}{config_name}"
    asked: dict[str, Any] = {"configname": config_key, "timestamp": stamp}
    if instance_type is not None:
        asked["instance_type"] = instance_type
    inputs = prefix(group, "inputs")
    wanted = asked | {"dataname": list(dict.fromkeys(inputs + one.name + "/" * one.is_folder for one in found))}
    _parse(wanted, bucket, submit_key)  # names that would be refused are refused before anything moves

    keys = tuple(_upload(cloud, bucket, inputs, one, on_bytes) for one in found)
    twins = [str(one.path) for one, key in zip(found, keys, strict=True) if keys.count(key) > 1]
    if twins:
        raise UsageError(f"These have the same name and content: {', '.join(twins)}. Give each dataset once.")
    if not any(info.key == config_key for info in cloud.list(bucket, config_key)):
        cloud.write(bucket, config_key, config_body)
    body = asked | {"dataname": list(keys)}
    wrote = cloud.write(bucket, submit_key, _dump(body), content_type=_JSON)
    return Submitted(
        bucket=bucket,
        submit_key=submit_key,
        version=wrote.version or wrote.etag,
        results=_parse(body, bucket, submit_key).results,
        datasets=keys,
        config=config_key,
    )


def _parse(asked: Mapping[str, Any], bucket: str, key: str) -> Any:  # noqa: ANN401
    return parse_submission(_dump(asked), ObjectVersion(bucket=bucket, key=key, version=""))


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _local(path: Path) -> _Local:
    """Return a dataset on this machine.

    Raises:
        UsageError: it is not there, is neither file nor folder, or may not be read.
    """
    name = path.name if path.name not in {"", ".."} else path.resolve().name
    try:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            return _Local(path=path, name=name, files=tuple((p.relative_to(path).as_posix(), p) for p in inside))
        if path.is_file():
            path.open("rb").close()
            return _Local(path=path, name=name, files=(("", path),))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    raise UsageError(
        f"{path} {'is not a file' if path.exists() else 'does not exist'}. Give a dataset on this machine."
    )


def _read_config(config: Path | Mapping[str, Any] | None) -> tuple[str, bytes]:
    """Return the name that a config gets in the bucket, and its content; the same content has the same name."""
    if isinstance(config, Path):
        try:
            body = config.read_bytes()
        except OSError as error:
            raise UsageError(f"The config file {config} cannot be read: {error.strerror}.") from None
        stem, suffix = config.stem, config.suffix
    else:
        body, stem, suffix = _dump(config or {}), "config", ".json"
    parse_config(body, f"{stem}{suffix}")
    return f"{check_name(stem, 'The name of the config')}-{fingerprint(body)[:_DIGITS]}{suffix}", body


def _check(
    platform: Platform,
    bucket: str,
    group: str,
    *,
    datasets: Sequence[_Local],
    config: dict[str, Any],
    instance_type: str | None,
) -> None:
    """Refuse what admission would refuse, as far as this machine can tell."""
    blueprint = find_blueprint(platform, bucket, group)
    check_count(blueprint, len(datasets))
    choose(blueprint, instance_type)
    request = read_request(config, blueprint)
    names = [(one.name + "/" * one.is_folder, one.size) for one in datasets]
    problems = [check_kind(name, blueprint.inputs) or check_size(name, size, blueprint.inputs) for name, size in names]
    refuse([problem for problem in problems if problem])
    allowed = [one.instance_type for one in blueprint.resources if instance_type in {None, one.instance_type}]
    check_cost(blueprint, max(map(hourly_price, allowed)), request.duration_s, len(datasets))


def _upload(cloud: Cloud, bucket: str, folder: str, dataset: _Local, on_bytes: OnBytes | None) -> str:
    """Bring a dataset into the group's inputs, unless it is there, and return its key."""
    prints = {inner: fingerprint(path) for inner, path in dataset.files}
    if dataset.is_folder:
        digest = fingerprint(json.dumps(prints, sort_keys=True).encode())
        keys = [f"{folder}{dataset.name}/", f"{folder}{dataset.name}-{digest[:_DIGITS]}/"]
    else:
        stem, dot, suffix = dataset.name.partition(".")
        keys = [f"{folder}{dataset.name}", f"{folder}{stem}-{prints[''][:_DIGITS]}{dot}{suffix}"]
    for key in keys:
        there = {info.key.removeprefix(key): info.etag for info in cloud.list(bucket, key) if _belongs(info.key, key)}
        if there.items() <= prints.items():  # nothing else is there, so what is missing can be added
            break
    # Where the last name is taken too, it is by this content: the hash in it says so, whatever its ETag is.
    for inner, path in dataset.files:
        if inner not in there:
            cloud.upload(path, bucket, f"{key}{inner}", on_bytes=on_bytes)
        elif on_bytes:
            on_bytes(path.stat().st_size)
    return key


def _belongs(found: str, key: str) -> bool:
    """Return whether a listed key is part of a dataset; the empty object in a folder's place is not."""
    return (found == key and not key.endswith("/")) or (found.startswith(key) and key.endswith("/") and found != key)
