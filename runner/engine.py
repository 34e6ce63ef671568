"""The job engine: a durable workflow per job, resumed after any crash. The only importer of DBOS.

What was learnt by experiment and must stay so:

* A workflow is only resumed by its own executor id, so every process has a fresh id and leases decide who lives; the
  jobs of a dead worker are put back into the queue by whoever notices first.
* DBOS's own cancelling and time limits skip what follows, and so would leave machines behind. A job is stopped through
  the ledger, and every way out leads through `destroy`.
* A step that raises `runner.stopping.Stopping` is not recorded: it is no `Exception`. The next worker does it again.
* `destroy`, `settle` and `certify` are retried for ever: giving up would leak machines or money.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus

from runner.stopping import pause
from state.job import Ending, JobStatus
from state.lease import Leases

APPLICATION, VERSION, QUEUE, WORKFLOW = "mayfly", "job-v1", "jobs", "job"
FOR_EVER = 10**9
THREADS = 64
"""Effects block (a `terraform apply` takes 15 s): enough threads that a waiting job never holds up a destroy."""

DATABASE_AWAY = timedelta(minutes=10)
"""How long a step waits for the database to come back before that counts as a failure."""

Step = Coroutine[Any, Any, Any]

log = logging.getLogger(__name__)


class Life(Protocol):
    """What a job goes through. Each method may be called again after a crash, at any point of its work."""

    def prepare(self, job_id: str) -> Ending | None:
        """Write the workspace. An ending means that the job cannot go on."""

    def provision(self, job_id: str) -> Ending | None:
        """Make the machines. An ending means that the job cannot go on."""

    async def monitor(self, job_id: str) -> Ending:
        """Watch until the job is over, one way or another."""

    def collect(self, job_id: str, ending: Ending) -> Ending:
        """Check that what the machines said they uploaded is there; the ending may change for the worse."""

    def destroy(self, job_id: str, ending: Ending) -> None:
        """Take down everything the job has; returns only when nothing is left."""

    def settle(self, job_id: str) -> None:
        """Account for what was used."""

    def certify(self, job_id: str) -> str:
        """Tell everybody; return the final status."""


class Engine:
    """Runs jobs. One per process, because DBOS keeps one instance per process."""

    def __init__(self, database: sa.Engine, *, lease: timedelta = timedelta(seconds=5)) -> None:
        """Use the ledger's database, so that a job is enqueued in the transaction that reserves its money.

        Args:
            database: as `state.database.connect` makes it.
            lease: after this long without a sign of life a worker counts as dead.
        """
        self.database, self._lease = database, lease
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._leases = Leases(database)
        self._stop = threading.Event()
        self._threads: ThreadPoolExecutor | None = None
        self._keeper: threading.Thread | None = None
        self._client: DBOSClient | None = None

    def migrate(self) -> None:
        """Bring DBOS's tables up to date; a process that only enqueues calls this once."""
        DBOS.migrate(self.database.url.render_as_string(hide_password=False))

    def enqueue(self, connection: sa.Connection, job_id: str, group: str) -> None:
        """Hand a job over, inside the caller's transaction. The same id twice is one job."""
        if self._client is None:
            self._client = DBOSClient(
                system_database_engine=self.database,
                application_name=APPLICATION,
                serializer=DBOSPortableJSONSerializer(),
            )
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": job_id,
                "queue_partition_key": group,
                "application_name": APPLICATION,
                "app_version": VERSION,
            },
            job_id,
        )

    def start(self, life: Life, *, per_group: int = 20, at_once: int = 400, poll_s: float = 0.2) -> None:
        """Begin to run jobs from the queue, in this process.

        Args:
            life: what to do with each.
            per_group: jobs of one group at a time, so that no group starves the others.
            at_once: jobs at a time over all workers.
            poll_s: seconds between two looks at the queue.
        """
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="job")
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_engine": self.database,
                "executor_id": self.name,
                "application_version": VERSION,
                "max_executor_threads": THREADS,
                "log_level": "WARNING",
                "serializer": DBOSPortableJSONSerializer(),
            }
        )
        self._register(life)
        self._leases.beat(self.name, datetime.now(UTC))
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, partition_concurrency=per_group, global_concurrency=at_once, polling_interval_sec=poll_s
        )
        self._keeper = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Stop taking jobs and let go of those under way; another worker, or the next start, resumes them."""
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
            DBOS.destroy(destroy_registry=True)
            self._leases.release(self.name)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.destroy()

    def _register(self, life: Life) -> None:
        def step(name: str, effect: Callable[..., Any], *, insist: bool = False) -> Callable[..., Step]:
            async def run(*arguments: str) -> Any:  # noqa: ANN401  (JSON: what DBOS records of a step)
                work = partial(self._outlast, name, effect, *arguments)
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)

            # Insisting tries every three seconds; a growing wait would overflow in an endless series.
            patience = {"max_attempts": FOR_EVER, "backoff_rate": 1.0} if insist else {"max_attempts": 3}
            return decorate(run, name=name, **patience)

        prepare = step("prepare", lambda job: pack(life.prepare(job)))
        provision = step("provision", lambda job: pack(life.provision(job)))
        collect = step("collect", lambda job, status, reason: pack(life.collect(job, unpack(status, reason))))
        destroy = step("destroy", lambda job, status, reason: life.destroy(job, unpack(status, reason)), insist=True)
        settle = step("settle", life.settle, insist=True)
        certify = step("certify", life.certify, insist=True)

        async def watch(job: str) -> list[str] | None:
            return pack(await life.monitor(job))

        monitor = decorate(watch, name="monitor", max_attempts=FOR_EVER, backoff_rate=1.0)

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        async def run(job: str) -> str:
            try:
                ending: list[str] = await prepare(job) or await provision(job) or await monitor(job)
                ending = await collect(job, *ending)
            except Exception as error:
                # Only what a step raised after all its tries; DBOS's own signals are not Exceptions.
                log.exception("job %s failed inside Mayfly", job)
                ending = [JobStatus.FAILED, f"Mayfly itself failed: {error}"]
            await destroy(job, *ending)
            await settle(job)
            return str(await certify(job))

    def _outlast(self, name: str, effect: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401  (see `run`)
        """Do an effect again while the database is away: restarting it must not end a job as failed."""
        end = datetime.now(UTC) + DATABASE_AWAY
        while True:
            try:
                return effect(*arguments)
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                if datetime.now(UTC) > end:
                    raise
                log.warning("%s of %s waits for the database: %s", name, arguments[0], error)
            pause(self._stop, 1)

    def _keep_leases(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 5):
            try:
                self._leases.beat(self.name, datetime.now(UTC))
                self._take_over()
            except Exception:  # the database may be away for a moment: the next beat tries again
                log.exception("keeping the lease of worker %s failed", self.name)

    def _take_over(self) -> None:
        """Put the jobs of dead workers back into the queue.

        Recovery is a loop and not a reaction, because the one who recovers may die in the middle of it. Whoever asks is
        alive: a commit of our own beat that takes longer than the lease must not make us run our jobs twice.
        """
        now = datetime.now(UTC)
        owners = {flow.executor_id for flow in self._pending()}
        living = self._leases.holders(now - self._lease) | {self.name}
        for owner in owners - living - {None, ""}:
            if not self._leases.claim(f"recover:{owner}", now, self._lease):
                continue
            # Asked again: whoever held the claim before may have given these jobs to a worker that lives.
            theirs = [flow.workflow_id for flow in self._pending() if flow.executor_id == owner]
            if theirs:
                log.warning("worker %s is gone: taking over %s", owner, ", ".join(theirs))
                DBOS.resume_workflows(theirs, queue_name=QUEUE)

    @staticmethod
    def _pending() -> list[WorkflowStatus]:
        return DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)


def decorate(
    run: Callable[..., Step], *, name: str, max_attempts: float, backoff_rate: float = 2.0
) -> Callable[..., Step]:
    """Return `run` as a step: recorded once done, tried again with seconds in between when it raises."""
    made: Callable[..., Step] = DBOS.step(
        name=name, retries_allowed=True, interval_seconds=3.0, max_attempts=int(max_attempts), backoff_rate=backoff_rate
    )(run)
    return made


def pack(ending: Ending | None) -> list[str] | None:
    """Return an ending in the JSON form that steps are recorded in."""
    return None if ending is None else [ending.status.value, ending.reason]


def unpack(status: str, reason: str) -> Ending:
    """Return the ending that `pack` took apart."""
    return Ending(status=JobStatus(status), reason=reason)
