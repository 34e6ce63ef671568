"""Telling a job's user: the certificate while it runs, and the certificate with the end marker when it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from compiler.names import platform_bucket
from runner.cloud_values import Cloud
from runner.monitor import Patience, Signs, judge, when
from runner.observe import Fleet, Observer
from runner.signing import publish
from runner.waiting import explain
from state.certificate import Certificate, Event, TaskProgress, end_text, render_json, render_text, tell_steps
from state.chronicle import Chronicle, Outcome, TaskEnding
from state.errors import CloudError
from state.job import Ending, Job, JobStatus, TaskStatus
from state.keys import ResultKeys, prefix
from state.ledger import Ledger
from state.record import JobRecord
from state.signature import Signer

JSON_TYPE = "application/json"
REFUSAL = "refusal"
"""Kind of the story lines that say what AWS refused."""
REFUSED = frozenset({"AccessDenied", "NoSuchBucket"})
"""Errors of a bucket that will not take anything, however often it is asked."""
INSIST = timedelta(days=1)
"""How long the end of a job waits for its analysis's own bucket; its machines are gone by then, its cost is settled."""
FRESH = timedelta(seconds=5)
"""A certificate in which only the clocks moved is written again after this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """When a certificate was last written, and what it says: all of it, and what was news from the tasks then."""

    mark: object
    news: object
    at: datetime


class Certifier:
    """Writes certificates from what the ledger and the agents say. Writing one again changes nothing but the time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        cloud: Cloud,
        clock: Callable[[], datetime],
        deployment: str,
        signer: Signer | None = None,
    ) -> None:
        """Tell the jobs of `deployment` in `ledger` through `cloud`; the JSON twin is signed by `signer`."""
        self._ledger, self._cloud, self._clock, self._deployment = ledger, cloud, clock, deployment
        self._signer, self._published = signer, False
        self._chronicle = Chronicle(ledger.engine)
        self._written: dict[str, _Written] = {}

    def write(self, job_id: str, signs: list[Signs] | None = None, *, rest: timedelta = timedelta(0)) -> None:
        """Write the certificate as it stands; not again when nothing happened since a moment ago.

        Args:
            job_id: which.
            signs: what was just seen of its tasks.
            rest: how long after the last one news may wait that only say how far the work has come.
        """
        now = self._clock()
        known = self._written.get(job_id)
        news = [(one.phase, one.report is not None) for one in signs or []]
        if signs is not None and known is not None and known.news == news and now - known.at < rest:
            return
        record = self._ledger.job(job_id)
        tasks = task_progress(record, signs or [], self._chronicle.outcomes(job_id))
        mark: object = (len(self._ledger.story(job_id)), record.status, [(t.status, t.last_command) for t in tasks])
        if known is None or known.mark != mark or now - known.at >= FRESH:
            self._put(record, tasks)
            self._written[job_id] = _Written(mark=mark, news=news, at=now)

    def close(self, job_id: str) -> JobStatus:
        """Write the last certificate and the end marker, then give the job its final status.

        The final status comes last, so that a crash in between writes the marker again rather than never. A bucket of
        the user's own may be gone or closed by now: then the analysis's own says how the job ended.
        """
        record = self._ledger.job(job_id)
        if record.ending is None:
            raise AssertionError(f"{job_id} is certified before its ending is known")
        try:
            self._finish(record, record.ending)
        except CloudError as error:
            if error.code not in REFUSED:
                raise
            self._finish_elsewhere(record, record.ending, error)
        self._written.pop(job_id, None)
        return self._ledger.finish(job_id, self._clock())

    def _finish(self, record: JobRecord, ending: Ending) -> None:
        signs = self._look(record.job) if record.job else []
        self._put(record, task_progress(record, signs, self._chronicle.outcomes(record.id)), final=True)
        self._cloud.write(record.results.bucket, record.results.end, end_text(ending).encode())

    def _finish_elsewhere(self, record: JobRecord, ending: Ending, error: CloudError) -> None:
        bucket, home = record.results.bucket, self._ledger.home_of(record.id)
        if home is not None and home != bucket:
            text = f"s3://{bucket} takes nothing more ({error}); told in s3://{home} instead"
            self._ledger.tell(record.id, text, self._clock(), once="told-at-home")
            self._finish(replace(record, results=keys_at_home(record, home)), ending)
        elif self._clock() - record.changed < INSIST:
            raise error
        else:
            text = f"nobody could be told, because s3://{bucket} takes nothing: {error}"
            self._ledger.tell(record.id, text, self._clock(), once="untold")

    def _look(self, job: Job) -> list[Signs]:
        try:
            return Observer(self._cloud, job, Fleet(self._cloud, self._deployment), self._chronicle).look()
        except CloudError as error:
            if error.code not in REFUSED:
                raise
            return []  # what was found out of its tasks is in the ledger

    def _put(self, record: JobRecord, tasks: tuple[TaskProgress, ...], *, final: bool = False) -> None:
        now = self._clock()
        story = self._ledger.story(record.id)
        statuses = [(line.at, JobStatus(line.text)) for line in story if line.kind == "status"]
        if final and record.ending is not None:
            statuses.append((now, record.ending.status))
        steps = tell_steps(statuses, record.ending, cloud_failed=any(line.kind == REFUSAL for line in story))
        notes = tuple(Event(at=line.at, text=line.text) for line in story if line.kind != "status")
        if not final and record.status is JobStatus.ADMITTED:
            notes += (Event(at=now, text=explain(self._ledger, record).why),)
        job = record.job
        certificate = Certificate(
            job=record.id,
            timestamp=job.timestamp if job else record.results.root.rstrip("/").rsplit("_", 1)[-1],
            analysis=record.analysis,
            version=job.analysis_version if job else "",
            group=record.group,
            started=record.submitted,
            now=now,
            events=tuple(sorted((*steps, *notes), key=lambda event: event.at)),
            tasks=tasks,
            usages=tuple(self._ledger.usage(record.id, now)),
            ending=record.ending if final else None,
            environment=environment(record),
            attempts=tuple(self._chronicle.attempts(record.id)),
            evidence=self._evidence(record),
        )
        keys = record.results
        self._cloud.write(keys.bucket, keys.certificate, render_text(certificate).encode())
        twin = render_json(certificate, self._signer).encode()
        self._cloud.write(keys.bucket, keys.certificate_json, twin, content_type=JSON_TYPE)
        if final and self._signer is not None and not self._published:
            self._published = publish(self._cloud, platform_bucket(self._deployment), self._signer)

    def _evidence(self, record: JobRecord) -> dict[str, object]:
        """Return what a program needs to check a job, or to run it again."""
        job = record.job
        if job is None:
            return {}
        inputs = [{"key": one.dataset, "size": one.size, "version": one.version} for one in job.tasks]
        return {
            **self._chronicle.facts(record.id),
            "parameters": job.parameters,
            "inputs": inputs,
            "input_bucket": job.data_bucket,
            "config": job.config,
            "iae": job.program.iae,
            "image": job.hardware.image,
            "command": list(job.program.command),
        }


def keys_at_home(record: JobRecord, bucket: str) -> ResultKeys:
    """Return where a job is told of in its analysis's bucket when its results were to go elsewhere.

    Its id is part of the name: another job of the same timestamp may have its results there.
    """
    folder = record.results.root.rstrip("/").rpartition("/")[2]
    return ResultKeys(bucket=bucket, root=f"{prefix(record.group, 'results')}{folder}-{record.id}/")


def environment(record: JobRecord) -> tuple[tuple[str, str], ...]:
    """Return the facts by which a run can be repeated."""
    job = record.job
    if job is None:
        return ()
    return (
        ("command", " ".join(job.program.command)),
        ("environment (IAE)", job.program.iae or "baked image"),
        ("image", job.hardware.image),
        ("instance type", job.hardware.instance_type),
        ("region", job.hardware.region),
        ("time limit", f"{job.duration_s // 60} minutes"),
        ("volume", f"{job.hardware.volume_gb} GB"),
    )


def task_progress(
    record: JobRecord, all_signs: list[Signs], outcomes: Mapping[int, Outcome] = MappingProxyType({})
) -> tuple[TaskProgress, ...]:
    """Return how each dataset stands, as far as its agent, or its silence, tells."""
    if record.job is None:
        return ()
    seen = {signs.task.number: signs for signs in all_signs}
    return tuple(
        _progress_of(record, record.job.label(task), seen.get(task.number), outcomes.get(task.number))
        for task in record.job.tasks
    )


def _progress_of(record: JobRecord, name: str, signs: Signs | None, outcome: Outcome | None) -> TaskProgress:
    ending, over = outcome.ending if outcome else "", record.ending is not None
    if signs is None:
        return TaskProgress(dataset=name, ending=ending)
    said, report = signs.status, signs.report or {}
    verdict = judge(signs, record.changed, Patience())
    status = _status(said.get("status"))
    reason = ""
    if verdict is not None:
        status, reason = verdict.status, "" if verdict.status is TaskStatus.SUCCESS else verdict.reason
    elif over:  # the job was stopped while this dataset was still worked on
        status, reason = TaskStatus.FAILED, record.ending.reason if record.ending else ""
    if outcome is not None:  # what was found out when its machine was still there
        good = outcome.ending is TaskEnding.SUCCEEDED
        status, reason = TaskStatus.SUCCESS if good else TaskStatus.FAILED, outcome.reason
    return TaskProgress(
        dataset=name,
        status=status,
        started=when(report.get("started") or said.get("starttime")),
        ended=when(report.get("ended") or said.get("endtime")),
        last_command=last_line(said),
        cpu=str(said.get("cpu_usage") or ""),
        reason=reason,
        ending=ending,
    )


def _status(word: object) -> TaskStatus:
    try:
        return TaskStatus(str(word))
    except ValueError:
        return TaskStatus.INITIALIZING


def last_line(said: dict[str, object]) -> str:
    """Return the last line a task printed, as its status file has it: a map from line number to line."""
    lines = said.get("stdout")
    if not isinstance(lines, dict) or not lines:
        return ""
    return str(lines[max(lines, key=lambda key: int(key) if str(key).isdigit() else -1)])
