"""Follow a job live: the lines of its story from the ledger, and what its tasks print, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runner.cloud_values import Cloud
from state.errors import CloudError
from state.keys import ResultKeys
from state.ledger import Ledger
from state.record import JobRecord, StoryLine

POLL_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a task printed."""

    task: int
    text: str


@dataclass(slots=True, kw_only=True)
class TaskLog:
    """Reads one task's log: chunk by chunk while it runs, and the rest from the whole log afterwards.

    The chunks are the beginning of the whole log, so that the bytes read so far say where to go on.

    Attributes:
        cloud: may read the results.
        keys: where they are.
        task: number of the task.
    """

    cloud: Cloud
    keys: ResultKeys
    task: int
    _next: int = 1
    _read: int = 0
    _rest: bytes = b""

    def poll(self) -> list[str]:
        """Return the whole lines that have come since."""
        lines: list[str] = []
        while self.cloud.head(self.keys.bucket, key := self.keys.live(self.task, self._next)) is not None:
            lines += self._take(self.cloud.read(self.keys.bucket, key))
            self._next += 1
        return lines

    def finish(self) -> list[str]:
        """Return what is left when the job is over, an unfinished last line too."""
        lines = self.poll()
        whole = self.cloud.head(self.keys.bucket, self.keys.log(self.task))
        if whole is not None and whole.size > self._read:
            lines += self._take(self.cloud.read(whole.bucket, whole.key)[self._read :])
        rest, self._rest = self._rest, b""
        return [*lines, rest.decode(errors="replace")] if rest else lines

    def _take(self, data: bytes) -> list[str]:
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Follows one job.

    Attributes:
        ledger: tells the story.
        cloud: may read the job's results.
        job_id: whom to follow.
        wait: called with the seconds to pause; may cut the pause short or raise.
        told: number of the last line of the story that was told.
    """

    ledger: Ledger
    cloud: Cloud
    job_id: str
    wait: Callable[[float], object]
    told: list[int] = field(default_factory=lambda: [0])

    def events(self) -> Iterator[StoryLine | LogLine]:
        """Yield what happens until the job has ended; all of it, however late one begins."""
        logs: list[TaskLog] = []
        while True:
            record = self.ledger.job(self.job_id)
            yield from self._story()
            logs = logs or self._logs(record)
            over = record.status.is_final
            for one in logs:
                try:
                    lines = one.finish() if over else one.poll()
                except CloudError as error:
                    if not error.retryable or over:
                        raise
                    lines = []
                yield from (LogLine(task=one.task, text=line) for line in lines)
            if over:
                yield from self._story()
                return
            self.wait(POLL_S)

    def once(self) -> Iterator[StoryLine | LogLine]:
        """Yield what has happened so far."""
        record = self.ledger.job(self.job_id)
        yield from self._story()
        for one in self._logs(record):
            yield from (LogLine(task=one.task, text=line) for line in one.finish())

    def _story(self) -> Iterator[StoryLine]:
        for line in self.ledger.story(self.job_id, after=self.told[0]):
            self.told[0] = line.number
            yield line

    def _logs(self, record: JobRecord) -> list[TaskLog]:
        tasks = record.job.tasks if record.job else ()
        return [TaskLog(cloud=self.cloud, keys=record.results, task=task.number) for task in tasks]
