"""The task manifest: what the runner tells an instance to do, as a value."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from runner.iae.ending import Ending, TaskError
from state.values import dataclass

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Source:
    """An object to fetch, or a folder of objects when the key ends in `/`.

    Attributes:
        bucket: its bucket.
        key: its key.
        version: ETag or version id that it had when the job was admitted; empty when that does not matter.
    """

    bucket: str
    key: str
    version: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the key is a prefix."""
        return self.key.endswith("/")


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where everything the task makes goes; all in one bucket.

    Attributes:
        bucket: the bucket.
        folder: prefix of the result files, ends in `/`.
        status: key of the live status.
        report: key of the report, written last.
        log: key of the whole log.
        live: prefix of the log's chunks while the task runs.
    """

    bucket: str
    folder: str
    status: str
    report: str
    log: str
    live: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything one task needs to know. Times are UTC; limits are seconds and bytes.

    `run` counts how often the task was interrupted before, `checkpoint` is the prefix of what it left then. `platform`
    is the key of the platform's sign of life, and after `silence_s` without it the machine ends. A machine whose task
    failed stays for `keep_failed_s`.
    """

    job: str
    task: int
    group: str
    analysis: str
    region: str
    input: Source
    config: Source
    parameters: dict[str, Any]
    results: Results
    command: tuple[str, ...]
    image_root: Path
    iae: str
    time_limit_s: float
    deadline: datetime
    log_limit_bytes: int
    result_limit_bytes: int
    heartbeat_s: float
    run: int = 0
    checkpoint: str = ""
    platform: str = ""
    silence_s: float = 0.0
    keep_failed_s: float = 0.0

    def resolve_command(self) -> list[str]:
        """Return the command with what names a file of the image made absolute; it is never seen by a shell."""
        return [self._resolve(argument) for argument in self.command]

    def _resolve(self, argument: str) -> str:
        path = PurePosixPath(argument)
        if not argument or argument.startswith("-") or path.is_absolute() or ".." in path.parts:
            return argument
        # Not Path.resolve(): venv/bin/python is a link, and it is by the link's place that Python finds its packages.
        found = self.image_root / path
        return str(found) if found.exists() else argument


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        TaskError: it cannot be read, or is not a manifest that this agent understands.
    """
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TaskError(Ending.INTERNAL, f"the task manifest {path} cannot be read: {error}") from error
    return parse_manifest(raw)


def parse_manifest(raw: dict[str, Any]) -> Manifest:
    """Turn the JSON of a manifest into a value.

    Raises:
        TaskError: a field is missing or has the wrong type, or the manifest is of a version unknown here.
    """
    if not isinstance(raw, dict) or raw.get("version") != VERSION:
        have = raw.get("version") if isinstance(raw, dict) else type(raw).__name__
        raise TaskError(
            Ending.INTERNAL, f"the task manifest has version {have!r}, and this agent knows version {VERSION}"
        )
    try:
        deadline = datetime.fromisoformat(raw["deadline"].replace("Z", "+00:00"))
        return Manifest(
            job=raw["job"],
            task=int(raw["task"]),
            group=raw["group"],
            analysis=raw["analysis"],
            region=raw["region"],
            input=_source(raw["input"]),
            config=_source(raw["config"]),
            parameters=dict(raw["parameters"]),
            results=Results(**{name: raw["results"][name] for name in Results.__dataclass_fields__}),
            command=_command(raw["command"]),
            image_root=Path(raw["image_root"]),
            iae=raw["iae"],
            time_limit_s=float(raw["time_limit_s"]),
            deadline=deadline if deadline.tzinfo else deadline.replace(tzinfo=timezone.utc),
            log_limit_bytes=int(raw["log_limit_bytes"]),
            result_limit_bytes=int(raw["result_limit_bytes"]),
            heartbeat_s=float(raw.get("heartbeat_s", 2)),
            run=int(raw.get("run", 0)),
            checkpoint=str(raw.get("checkpoint", "")),
            platform=str(raw.get("platform", "")),
            silence_s=float(raw.get("silence_s", 0)),
            keep_failed_s=float(raw.get("keep_failed_s", 0)),
        )
    except KeyError as error:
        raise TaskError(Ending.INTERNAL, f"the task manifest lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise TaskError(Ending.INTERNAL, f"the task manifest is malformed: {error}") from error


def _command(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(part, str) for part in raw):
        raise TypeError("command is not a list of texts")
    return tuple(raw)


def _source(raw: dict[str, Any]) -> Source:
    return Source(bucket=raw["bucket"], key=raw["key"], version=str(raw.get("version") or ""))
