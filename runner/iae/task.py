"""The life of one task: fetch, run, upload, and report whatever happened."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import timedelta
from pathlib import Path

from runner.iae.ending import Ending, TaskError
from runner.iae.farewell import finish
from runner.iae.gauge import Gauge
from runner.iae.halt import Clock, Halt
from runner.iae.keeping import restore_checkpoint, save_checkpoint
from runner.iae.log import LastLines, TaskLog
from runner.iae.machine import Folders, make_folders, tell
from runner.iae.manifest import Manifest
from runner.iae.outlook import Outlook, timer_folder
from runner.iae.process import Output, run_analysis, task_environment
from runner.iae.processes import Family, Meter
from runner.iae.report import Outcome, judge, read_reason
from runner.iae.results import Harvest, check_size, checksums, gather, upload
from runner.iae.status import LAST_LINES, Board, Heartbeat, Phase, Status
from runner.iae.store import Store
from runner.iae.transfer import fetch
from runner.iae.user import User
from state.values import dataclass

_LAST_WORDS_S = 3.0
_UPLOAD_RESERVE_S = 20.0
_NAMED = 5


@dataclass(kw_only=True)
class Task:
    """Everything that the steps of one task share."""

    manifest: Manifest
    store: Store
    clock: Clock
    stop: threading.Event
    environ: Mapping[str, str]
    user: User | None
    folders: Folders
    log: TaskLog
    board: Board
    meter: Meter
    family: Family
    halt: Halt
    gauge: Gauge
    outlook: Outlook
    heartbeat: Heartbeat = field(init=False)

    def __post_init__(self) -> None:
        self.heartbeat = Heartbeat(
            board=self.board, log=self.log, store=self.store, meter=self.meter, gauge=self.gauge, clock=self.clock
        )

    def enter(self, phase: Phase, status: Status, reason: str = "") -> None:
        """Go on to the next phase and let everybody see it."""
        self.board.phase, self.board.status, self.board.reason = phase, status, reason
        self.heartbeat.beat_soon()

    def last_halt(self) -> Halt:
        """Return when to give up uploading: at the deadline, or when the machine goes."""
        notice, deadline = self.outlook.notice, self.outlook.deadline - timedelta(seconds=_LAST_WORDS_S)
        return Halt(self.clock, min(deadline, notice.until) if notice else deadline, self.stop)

    def trouble(self, text: str) -> None:
        """Note why something is tried again."""
        self.log.say(f"trying again: {text}")
        tell(f"trying again: {text}")


def run_task(
    manifest: Manifest,
    *,
    store: Store,
    clock: Clock,
    stop: threading.Event,
    environ: Mapping[str, str],
    work: Path,
    find_instance: Callable[[], str],
    ask_metadata: Callable[[str], str] = lambda _: "",
    user: User | None = None,
) -> Outcome:
    """Carry out one task; whatever happens, its status and report are written, the report last.

    Args:
        manifest: the task.
        store: where data comes from and results go.
        clock: the time.
        stop: set when the machine is told to stop.
        environ: the agent's environment.
        work: an empty folder.
        find_instance: finds out the machine's id; may take its time.
        ask_metadata: returns what the instance metadata service says about a path.
        user: whom the analysis runs as; None for whoever this is.
    """
    log = TaskLog(work / "task.log", manifest.log_limit_bytes)
    family = Family()
    board = Board(manifest=manifest, started=clock.now(), stdout=LastLines(LAST_LINES), stderr=LastLines(LAST_LINES))
    outlook = Outlook(
        manifest=manifest, store=store, clock=clock, ask_metadata=ask_metadata, timer=timer_folder(environ)
    )
    task = Task(
        manifest=manifest,
        store=store,
        clock=clock,
        stop=stop,
        environ=environ,
        user=user,
        folders=make_folders(work, user),
        log=log,
        board=board,
        meter=Meter(family),
        family=family,
        halt=Halt(
            clock,
            manifest.deadline - timedelta(seconds=_LAST_WORDS_S),
            stop,
            notice=lambda: notice_error(outlook),
            granted=outlook.granted,
        ),
        gauge=Gauge(work),
        outlook=outlook,
    )
    outlook.start()
    threading.Thread(target=lambda: setattr(board, "instance", find_instance()), daemon=True).start()
    task.heartbeat.start()
    outcome = Outcome(ending=Ending.INTERNAL, reason="the agent ended early")
    try:
        outcome = _work(task)
    except TaskError as error:
        outcome = Outcome(ending=error.ending, reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its owner must hear of it
        outcome = Outcome(ending=Ending.INTERNAL, reason=f"the agent failed: {type(error).__name__}: {error}")
        for line in traceback.format_exc().splitlines():
            log.say(line)
            tell(line)
    finally:
        finish(task, outcome)
        outlook.stop()
    return outcome


def _work(task: Task) -> Outcome:
    manifest, folders = task.manifest, task.folders
    _check_image(manifest)
    dataset = _fetch(task)
    restore_checkpoint(task)
    if dataset.is_file():
        threading.Thread(target=_hash_input, args=(task, dataset), daemon=True).start()
    note = folders.root / "manifest.json"
    config = folders.config / Path(manifest.config.key).name
    told = {
        "inputs": [str(dataset)],
        "config": str(config),
        "parameters": manifest.parameters,
        "results": str(folders.results),
        "scratch": str(folders.scratch),
        "checkpoint": str(folders.checkpoint),
        "run": manifest.run,
        "task": manifest.task,
    }
    note.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    reason = folders.reason / "reason.txt"
    task.enter(Phase.RUNNING, Status.IN_PROGRESS)
    begun_s = min(manifest.time_limit_s, max(1.0, task.halt.remaining - _UPLOAD_RESERVE_S)) - task.outlook.granted()

    def limit_s() -> float:
        return begun_s + task.outlook.granted()

    ended = run_analysis(
        [*manifest.resolve_command(), str(note)],
        cwd=folders.scratch,
        environment=task_environment(task.environ, folders.scratch, reason),
        user=task.user,
        limit_s=limit_s,
        stopped=task.stop.is_set,
        family=task.family,
        output=Output(log=task.log, stdout=task.board.stdout, stderr=task.board.stderr),
        time_to_save=task.outlook.time_to_save,
    )
    outcome = judge(ended, read_reason(reason), task.board.stderr.texts(), limit_s())
    if (notice := task.outlook.notice) is not None and ended.cause is Ending.INTERRUPTED:
        outcome.ending, outcome.reason = notice.ending, notice.reason
        save_checkpoint(task)
    if not task.stop.is_set():
        _upload(task, outcome)
    return outcome


def notice_error(outlook: Outlook) -> TaskError | None:
    """Return the error that ends a task before its analysis runs; None while nothing is wrong."""
    return None if outlook.notice is None else TaskError(outlook.notice.ending, outlook.notice.reason)


def _check_image(manifest: Manifest) -> None:
    """Refuse to run in another environment than the one the job was admitted with."""
    path = manifest.image_root / "manifest.json"
    if not manifest.image_root.is_dir():
        raise TaskError(Ending.ENVIRONMENT_MISSING, f"the machine image has no environment at {manifest.image_root}")
    with suppress(OSError, ValueError, AttributeError):
        have = json.loads(path.read_bytes()).get("digest")
        if have and manifest.iae and have != manifest.iae:
            raise TaskError(
                Ending.ENVIRONMENT_MISSING,
                f"the machine image carries environment {have[:12]}, and the job was admitted with {manifest.iae[:12]}",
            )


def _fetch(task: Task) -> Path:
    """Fetch the dataset and the config; return the dataset's path."""
    manifest, halt, received = task.manifest, task.halt, 0

    def count(size: int) -> None:
        nonlocal received
        received += size
        task.board.reason = f"fetching {manifest.input.key}: {received / 1e6:.0f} MB so far"

    begun = task.clock.monotonic()
    dataset = fetch(
        manifest.input, task.folders.inputs, store=task.store, halt=halt, on_trouble=task.trouble, on_bytes=count
    )
    seconds = task.clock.monotonic() - begun
    task.log.say(f"fetched {manifest.input.key}: {received / 1e6:.2f} MB in {seconds:.1f} s")
    fetch(
        manifest.config,
        task.folders.config,
        store=task.store,
        halt=halt,
        on_trouble=task.trouble,
        on_bytes=_ignore,
    )
    return dataset


def _hash_input(task: Task, dataset: Path) -> None:
    """Find out the dataset's checksum beside the analysis; it is for the certificate."""
    with suppress(OSError):
        task.board.input_sha256 = checksums(dataset)[0]


def _ignore(count: int) -> None:
    """Count nothing."""


def _upload(task: Task, outcome: Outcome) -> None:
    """Upload what the analysis wrote, also when it failed: what it computed until then was paid for."""
    task.enter(Phase.UPLOADING, Status.IN_PROGRESS, outcome.reason)
    results = task.manifest.results
    harvest: Harvest = gather(task.folders.results, results.folder)
    outcome.refused = harvest.refused
    try:
        check_size(harvest, task.manifest.result_limit_bytes)
        files = f"{len(harvest.files)} result file{'' if len(harvest.files) == 1 else 's'}"
        task.log.say(f"uploading {files}, {harvest.size / 1e6:.2f} MB")
        outcome.outputs = upload(
            harvest.files,
            results.bucket,
            results.folder,
            store=task.store,
            halt=task.last_halt(),
            on_trouble=task.trouble,
            on_bytes=_ignore,
        )
    except TaskError as error:
        task.log.say(str(error))
        # The first thing that went wrong is the reason; what follows from it is only told in the log.
        if outcome.ending is Ending.SUCCEEDED:
            outcome.ending, outcome.reason = error.ending, str(error)
    if harvest.refused:
        words = f"not uploaded: {', '.join(harvest.refused[:_NAMED])}" + (" …" if len(harvest.refused) > _NAMED else "")
        task.log.say(words)
        outcome.add(words)
