"""What the outside sees of a running task: its status object and the live chunks of its log."""

from __future__ import annotations

import json
import shlex
import threading
from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import Any

from runner.iae.gauge import Gauge
from runner.iae.halt import Clock
from runner.iae.log import LastLines, TaskLog
from runner.iae.machine import tell
from runner.iae.manifest import Manifest
from runner.iae.processes import Load, Meter
from runner.iae.store import Store
from state.values import dataclass

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
LAST_LINES = 20

_CHUNKS_PER_BEAT = 8


class Status(str, Enum):
    """The words of the status file; they are NeuroCAAS's."""

    INITIALIZING = "INITIALIZING"
    IN_PROGRESS = "IN PROGRESS"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class Phase(str, Enum):
    """What the agent is doing."""

    DOWNLOADING = "downloading"
    RUNNING = "running"
    UPLOADING = "uploading"
    DONE = "done"


@dataclass(kw_only=True)
class Board:
    """The facts of the task as they are now. Single fields change; `render` takes them as they stand.

    Attributes:
        manifest: the task.
        started: when the agent started.
        stdout: last lines of the analysis's output.
        stderr: likewise.
        instance: EC2's id of this machine, empty while unknown.
        reason: what is going on, or why it ended, in words.
        ended: when the task ended.
        load: what the analysis uses.
        machine: how full and busy the whole machine is.
        input_sha256: checksum of the dataset, once it is known; empty for a folder.
    """

    manifest: Manifest
    started: datetime
    stdout: LastLines
    stderr: LastLines
    status: Status = Status.INITIALIZING
    phase: Phase = Phase.DOWNLOADING
    instance: str = ""
    reason: str = ""
    ended: datetime | None = None
    load: Load = Load(cpu_percent=0.0, memory=0)
    machine: dict[str, Any] = field(default_factory=dict)
    input_sha256: str = ""

    def render(self, now: datetime) -> bytes:
        """Return the status object: NeuroCAAS's fields, with `phase` and `updated` added.

        `cpu_usage` is percent of one CPU, `memory_usage` bytes; `stdout` and `stderr` map line numbers to lines.
        """
        fields: dict[str, Any] = {
            "status": self.status.value,
            "reason": self.reason,
            "stdout": self.stdout.numbered(),
            "stderr": self.stderr.numbered(),
            "cpu_usage": self.load.cpu_percent,
            "memory_usage": self.load.memory,
            "input": self.manifest.input.key,
            "job": self.manifest.job,
            "instance": self.instance,
            "command": shlex.join(self.manifest.command),
            "starttime": format_time(self.started),
            "endtime": format_time(self.ended) if self.ended else "",
            "phase": self.phase.value,
            "run": self.manifest.run,
            "machine": self.machine,
            "updated": format_time(now),
        }
        return encode(fields)


class Heartbeat:
    """A thread that publishes the board and the log every few seconds, whatever the rest of the agent waits for.

    A store that does not answer costs a beat, never the task.
    """

    def __init__(self, *, board: Board, log: TaskLog, store: Store, meter: Meter, gauge: Gauge, clock: Clock) -> None:
        self._board = board
        self._log = log
        self._store = store
        self._meter = meter
        self._gauge = gauge
        self._clock = clock
        self._chunks = 0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Publish now, and then every few seconds."""
        self._beat()
        self._thread.start()

    def beat_soon(self) -> None:
        """Publish at once: something changed that people wait for."""
        self._wake.set()

    def stop(self, wait_s: float) -> None:
        """Publish no more. An old status must not overwrite the final one, so this waits for a beat under way."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, wait_s))

    def publish(self) -> None:
        """Write the board, and then the log as far as it was not sent.

        Raises:
            StoreError: the store failed; what was not sent stays to be sent.
        """
        now = self._clock.monotonic()
        self._board.load, self._board.machine = self._meter.look(now), self._gauge.look(now)
        results = self._board.manifest.results
        self._store.put(results.bucket, results.status, self._board.render(self._clock.now()), JSON)
        for _ in range(_CHUNKS_PER_BEAT):
            chunk = self._log.next_chunk()
            if not chunk:
                break
            key = f"{results.live}{self._chunks + 1:08d}.log"
            self._store.put(results.bucket, key, chunk, TEXT)
            self._chunks += 1
            self._log.mark_sent(len(chunk))

    def _run(self) -> None:
        while not self._stop.is_set():
            self._clock.wait(self._wake, self._board.manifest.heartbeat_s)
            self._wake.clear()
            if not self._stop.is_set():
                self._beat()

    def _beat(self) -> None:
        try:
            self.publish()
        except Exception as error:  # noqa: BLE001 - the task goes on, and so must its pulse
            tell(f"status not written: {error}")


def format_time(moment: datetime) -> str:
    """Return a time as ISO 8601 in whole milliseconds, UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(fields: dict[str, Any]) -> bytes:
    """Return JSON that people can read, too. Lone surrogates, which no reader accepts, become question marks."""
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")
