"""Making a submission ready, from the user's side: all that can be looked at and refused without any cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compiler.model import Platform
from runner.admission import find_blueprint, read_request
from runner.config_file import parse_config
from runner.datasets import check_kind, check_size, refuse
from runner.fingerprint import fingerprint
from runner.intake import check_name, parse_submission
from runner.machines import check_cost, check_count, list_choices
from runner.pricing import hourly_price
from state.errors import UsageError
from state.keys import SUBMIT, ResultKeys, prefix
from state.submission import ObjectVersion, Submission

DIGITS = 8
"""Of a hash that makes a name unique."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A dataset on this machine: its path, its name, and its files with their names inside it ("" for a file)."""

    path: Path
    name: str
    files: tuple[tuple[str, Path], ...]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.files[:1] != (("", self.path),)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(path.stat().st_size for _, path in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A submission that is ready to be sent: everything that can be known on this machine was looked at.

    Attributes:
        analysis: id of the blueprint.
        bucket: the analysis's bucket.
        group: id of the group.
        submit_key: where the file that starts the job will be.
        config_key: where the config will be.
        config: its content.
        results: where the results will be.
        asked: what the submit file says, but for the datasets' keys.
        datasets: files and folders on this machine.
    """

    analysis: str
    bucket: str
    group: str
    submit_key: str
    config_key: str
    config: bytes
    results: ResultKeys
    asked: Mapping[str, Any]
    datasets: tuple[Local, ...]

    @property
    def size(self) -> int:
        """Bytes of all datasets."""
        return sum(one.size for one in self.datasets)


def prepare(
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
    check: bool = True,
) -> Parcel:
    """Make a submission ready without any cloud, and refuse here what can be refused here.

    Args:
        platform: what the YAML files say.
        group: id of the group.
        analysis: id of the blueprint.
        datasets: files, or folders where the analysis takes folders; one task each.
        config: a config file, its content, or None for every default.
        now: UTC; makes the timestamp when none is given.
        instance_type: one that the blueprint lists; None for its first.
        name: becomes part of the result folder's name.
        timestamp: unique text that names the result folder.
        check: whether to refuse here what the platform would refuse later.

    Raises:
        UsageError: a file or a name given cannot be used.
        SubmissionError: the platform would refuse the job; the reason says what to change.
    """
    if analysis not in platform.blueprints:
        raise UsageError(
            f"There is no analysis {analysis}. These are known: {', '.join(platform.blueprints) or 'none'}."
        )
    if not datasets:
        raise UsageError("No dataset is given. Name at least one file.")
    bucket = platform.bucket(analysis)
    found = tuple(find_local(path) for path in datasets)
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
    return Parcel(
        analysis=analysis,
        bucket=bucket,
        group=group,
        submit_key=submit_key,
        config_key=config_key,
        config=config_body,
        results=parse(wanted, bucket, submit_key).results,  # names that would be refused are refused here
        asked=asked,
        datasets=found,
    )


def parse(asked: Mapping[str, Any], bucket: str, key: str) -> Submission:
    """Read a submit file as the platform will.

    Raises:
        SubmissionError: it would be refused.
    """
    return parse_submission(dump(asked), ObjectVersion(bucket=bucket, key=key, version=""))


def dump(value: Mapping[str, Any]) -> bytes:
    """Return JSON that is the same for the same content."""
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def find_local(path: Path) -> Local:
    """Return a dataset on this machine.

    Raises:
        UsageError: it is not there, is neither file nor folder, or may not be read.
    """
    name = path.name if path.name not in {"", ".."} else path.resolve().name
    try:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            return Local(path=path, name=name, files=tuple((p.relative_to(path).as_posix(), p) for p in inside))
        if path.is_file():
            path.open("rb").close()
            return Local(path=path, name=name, files=(("", path),))
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
        body, stem, suffix = dump(config or {}), "config", ".json"
    parse_config(body, f"{stem}{suffix}")
    return f"{check_name(stem, 'The name of the config')}-{fingerprint(body)[:DIGITS]}{suffix}", body


def _check(
    platform: Platform,
    bucket: str,
    group: str,
    *,
    datasets: Sequence[Local],
    config: dict[str, Any],
    instance_type: str | None,
) -> None:
    """Refuse what admission would refuse, as far as this machine can tell."""
    blueprint = find_blueprint(platform, bucket, group)
    check_count(blueprint, len(datasets))
    allowed = list_choices(blueprint, instance_type)
    request = read_request(config, blueprint)
    names = [(one.name + "/" * one.is_folder, one.size) for one in datasets]
    problems = [check_kind(name, blueprint.inputs) or check_size(name, size, blueprint.inputs) for name, size in names]
    refuse([problem for problem in problems if problem])
    prices = [hourly_price(platform.deployment, one.instance_type, one.region) for one in allowed]
    check_cost(blueprint, max(prices), request.duration_s, len(datasets))
