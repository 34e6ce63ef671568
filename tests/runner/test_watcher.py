from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compiler.model import Platform
from runner.certify import Certifier
from runner.cloud_values import Message
from runner.desk import Desk
from runner.lookups import Lookups
from runner.watcher import BATCH, GULP, TRIES, Post, Watcher, announced
from state.database import sqlite_url
from state.errors import CloudError
from state.inbox import Inbox
from state.job import JobStatus
from state.ledger import Ledger, open_ledger
from state.stops import StopRequest
from state.submission import ObjectVersion
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import a_platform
from tests.fakes.scene import START

BUCKET, QUEUE = "demo-pca", "demo-events"
DOWN = CloudError("down", service="s3", code="SlowDown", retryable=True)


class Office:
    """A watcher with everything around it."""

    def __init__(self, folder: Path, platform: Platform | None = None) -> None:
        self.now = START
        self.cloud = FakeCloud(now=lambda: self.now)
        self.ledger: Ledger = open_ledger(sqlite_url(folder / "ledger.db"))
        self.inbox = Inbox(self.ledger.engine)
        self.platform = platform or a_platform()
        self.cloud.make_bucket(BUCKET)
        self.cloud.make_queue(QUEUE)
        self.cloud.wire(BUCKET, QUEUE)
        self.cloud.wire(BUCKET, QUEUE, "cancel.json")
        self.cloud.register_image(name="iae-d1", digest="d1", architecture="x86_64")
        self.decided = 0
        for group in ("lab1", "lab2"):
            self.cloud.write(BUCKET, f"{group}/inputs/a.npy", b"x" * 10)
            self.cloud.write(BUCKET, f"{group}/configs/c.yaml", b"n_components: 3\n")
        self.watcher = self.restart()

    def restart(self) -> Watcher:
        """A new watcher process on the same ledger."""
        certifier = Certifier(ledger=self.ledger, cloud=self.cloud, clock=lambda: self.now, deployment="demo")
        lookups = Lookups(
            self.cloud, lambda _, __: "d1", clock=lambda: self.now, version=lambda _, analysis: f"{analysis}-v1"
        )
        desk = Desk(
            ledger=self.ledger,
            inbox=self.inbox,
            cloud=self.cloud,
            certifier=certifier,
            lookups=lookups,
            clock=lambda: self.now,
        )
        self.watcher = Watcher(
            Post(
                inbox=self.inbox,
                cloud=self.cloud,
                platform=lambda: self.platform,
                desk=desk,
                clock=lambda: self.now,
                poll_s=0,
                on_decided=self._count,
            )
        )
        return self.watcher

    def _count(self) -> None:
        self.decided += 1

    def put(self, name: str, body: object, *, group: str = "lab1") -> ObjectVersion:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        wrote = self.cloud.write(BUCKET, f"{group}/submissions/{name}", text)
        return ObjectVersion(bucket=BUCKET, key=wrote.key, version=wrote.version)

    def submit(self, stamp: str, *, group: str = "lab1", **fields: Any) -> ObjectVersion:
        body = {"dataname": f"{group}/inputs/a.npy", "configname": f"{group}/configs/c.yaml", "timestamp": stamp}
        return self.put(f"{stamp}_submit.json", body | fields, group=group)

    def settle(self) -> None:
        """Listen and work until nothing is left to do now."""
        while self.watcher.listen() or self.watcher.work():
            pass

    def jobs(self, *statuses: JobStatus) -> list[str]:
        """Timestamps in the order of admission."""
        found = self.ledger.jobs(statuses=statuses, limit=10_000)
        stories = sorted((self.ledger.story(one.id)[0].number, one) for one in found) if len(found) < 50 else []
        return [one.results.root.rstrip("/").rsplit("_", 1)[-1] for _, one in stories]

    def text(self, key: str) -> str:
        return self.cloud.read(BUCKET, key).decode()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_message_is_deleted_only_after_its_event_was_kept(office: Office) -> None:
    office.submit("t1")
    office.cloud.fail_next("acknowledge", DOWN)
    with pytest.raises(CloudError):
        office.watcher.listen()
    assert len(office.inbox.pending()) == 1
    office.cloud.redeliver(QUEUE)
    office.settle()
    assert office.jobs(JobStatus.ADMITTED) == ["t1"]
    assert office.cloud.receive(office.cloud.queue_url(QUEUE), wait_s=0) == []


class FullInbox(Inbox):
    """An inbox on a full disk."""

    def record_all(self, sources: Iterable[ObjectVersion], at: datetime) -> int:  # noqa: ARG002
        raise OSError("disk full")


def test_nothing_is_deleted_when_the_ledger_cannot_keep_it(office: Office) -> None:
    office.submit("t1")
    with pytest.raises(OSError, match="disk full"):
        Watcher(replace(office.watcher.post, inbox=FullInbox(office.ledger.engine))).listen()
    assert office.cloud.calls_of("acknowledge") == []
    office.cloud.redeliver(QUEUE)
    office.settle()
    assert office.jobs(JobStatus.ADMITTED) == ["t1"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("not json", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "names no object"),
        ('{"detail": null}', "names no object"),
        ('{"detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}}', "without a version"),
        ('{"detail": {"bucket": {"name": "b"}, "object": {"key": 5, "etag": "e"}}}', "no names"),
        ('{"detail": {"bucket": {"name": "b"}, "object": {"key": "a\\u0000b", "etag": "e"}}}', "no names"),
        ('{"detail": {"bucket": {"name": "b"}, "object": {"key": "a\\ud800", "etag": "e"}}}', "no names"),
        ('{"detail": {"bucket": {"name": "b"}, "object": {"key": "%s", "etag": "e"}}}' % ("k" * 2000), "no names"),
    ],
    ids=lambda value: value[:25],
)
def test_a_poisonous_message_stays_for_the_dead_letter_queue_and_is_told_with_its_reason(
    office: Office, body: str, words: str
) -> None:
    office.cloud.send(QUEUE, body)
    office.submit("t1")
    office.settle()
    [letter] = office.inbox.letters()
    assert words in letter.reason
    assert letter.body == body[:4096]
    assert office.jobs(JobStatus.ADMITTED) == ["t1"]
    office.cloud.redeliver(QUEUE)
    office.settle()
    [letter] = office.inbox.letters()
    assert letter.attempts == 2


def test_an_event_is_read_in_either_spelling() -> None:
    for name in ("etag", "eTag"):
        body = json.dumps({"detail": {"bucket": {"name": "b"}, "object": {"key": "k", name: "e"}}})
        found = announced(Message(id="1", receipt="r", body=body, attempts=1))
        assert found == ObjectVersion(bucket="b", key="k", version="etag:e")


def test_a_burst_is_admitted_in_order_in_each_group_and_fairly_between_groups(tmp_path: Path) -> None:
    platform = a_platform()
    opted = {name: replace(platform.groups[name], analyses=("pca",)) for name in ("lab1", "lab2")}
    office = Office(tmp_path, replace(platform, groups=opted))
    stamps = [f"{number:04d}" for number in range(BATCH + 20)]
    for stamp in stamps:
        office.submit(stamp)
    office.submit("late", group="lab2")
    assert office.watcher.listen() == BATCH + 21
    assert office.cloud.calls_of("receive")
    assert office.watcher.work() == BATCH
    assert [r.group for r in office.ledger.jobs(group="lab2")] == ["lab2"]  # not behind the others
    office.settle()
    turns = {r.results.root.split("_")[-1].rstrip("/"): r for r in office.ledger.jobs(group="lab1", limit=1000)}
    order = sorted(stamps, key=lambda stamp: office.ledger.story(turns[stamp].id)[0].number)
    assert order == stamps
    assert office.decided == 2


def test_more_messages_than_one_gulp_leave_room_for_deciding(office: Office) -> None:
    for number in range(GULP + 5):
        office.cloud.send(QUEUE, f"junk {number}")
    assert GULP <= office.watcher.listen() < GULP + 10
    assert office.watcher.listen() > 0


def test_what_no_event_announced_is_found_by_one_listing_and_no_look_at_each(office: Office) -> None:
    office.cloud.store.wires.clear()
    for number in range(20):
        office.submit(f"t{number:02d}")
    office.put("readme.txt", b"nothing for us")
    before = len(office.cloud.calls_of("head"))
    assert office.watcher.reconcile() == 20
    assert len(office.cloud.calls_of("head")) == before
    assert office.watcher.reconcile() == 0
    assert office.restart().reconcile() == 0
    office.settle()
    assert len(office.jobs(JobStatus.ADMITTED)) == 20


def test_an_event_and_a_listing_of_the_same_upload_make_one_job(office: Office) -> None:
    office.submit("t1")
    assert office.watcher.reconcile() == 1
    office.settle()
    office.cloud.redeliver(QUEUE)
    office.settle()
    assert office.jobs() == ["t1"]


def test_while_s3_is_away_a_groups_later_submissions_wait_behind_the_first(office: Office) -> None:
    office.submit("t1")
    office.submit("t2")
    office.watcher.listen()
    office.cloud.fail_next("read", DOWN)
    office.watcher.work()
    assert office.jobs() == []
    assert office.watcher.work() == 0  # not yet
    office.now += timedelta(seconds=6)
    office.watcher.work()
    assert office.jobs(JobStatus.ADMITTED) == ["t1", "t2"]


def test_what_mayfly_stumbles_over_is_refused_after_some_tries_and_holds_up_nobody(office: Office) -> None:
    source = office.submit("t1")
    office.submit("ok", group="lab2")
    office.cloud.fail_next("find_image", CloudError("forbidden", service="ec2", code="AccessDenied"), times=TRIES)
    office.watcher.listen()
    for _ in range(TRIES + 1):
        office.watcher.work()
        office.now += timedelta(seconds=6)
    assert office.inbox.pending() == []
    refused = {r.group: r for r in office.ledger.jobs(statuses=[JobStatus.REJECTED])}
    assert "could not read this submission: forbidden" in str(refused["lab1"].ending)
    assert source.key.startswith("lab1/")
    assert "AccessError" not in str(refused["lab2"].ending)  # lab2 did not opt in: a refusal of its own


def test_a_submission_that_kills_the_watcher_is_not_tried_for_ever(office: Office) -> None:
    office.submit("t1")
    office.watcher.listen()
    for _ in range(TRIES - 1):
        assert len(office.inbox.take(10, office.now)) == 1  # begun, and the process died
    office.cloud.fail_next("read", CloudError("odd", service="s3", code="Odd"))
    office.restart().work()
    assert office.inbox.pending() == []
    [record] = office.ledger.jobs()
    assert record.status is JobStatus.REJECTED


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"x" * 3_000_000, "larger than 1024 KiB"),
        (b"[" * 50_000, "too deeply"),
        (b"[1]", "must be a JSON object"),
        ({"dataname": "lab2/inputs/a.npy"}, "not yours"),
        ({"dataname": "lab1/inputs/../../x"}, '".."'),
        ({"dataname": []}, "empty list"),
        ({"dataname": [f"lab1/inputs/{n}" for n in range(5000)]}, "at most 3 instances"),
        ({"dataname": "lab1/inputs/$(id).npy"}, '"lab1/inputs/$(id).npy" does not exist'),
        ({"dataname": "lab1/inputs/`id`.npy"}, "does not exist"),
        ({"dataname": 'lab1/inputs/"; rm -rf.npy'}, "does not exist"),
        ({"dataname": "lab1/inputs/" + "k" * 1100}, "too long"),
        ({"dataname": "lab1/inputs/gone/"}, "does not exist or is empty"),
        ({"configname": "lab1/configs/broken.yaml"}, "not valid YAML"),
        ({"configname": "lab1/configs/typed.yaml"}, "must be a whole number"),
        ({"configname": "lab1/configs/negative.yaml"}, "__duration__ is -5"),
        ({"configname": "lab1/configs/huge.yaml"}, "__duration__ is 999999999"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_bad_submission_ends_with_certificate_end_marker_and_reason(
    office: Office, body: bytes | dict[str, Any], words: str
) -> None:
    for name, text in {
        "broken": "a: [1\n",
        "typed": "n_components: many\n",
        "negative": "__duration__: -5\n",
        "huge": "__duration__: 999999999\n",
    }.items():
        office.cloud.write(BUCKET, f"lab1/configs/{name}.yaml", text.encode())
    good = {"dataname": "lab1/inputs/a.npy", "configname": "lab1/configs/c.yaml", "timestamp": "t1"}
    office.put("submit.json", body if isinstance(body, bytes) else good | body)
    office.settle()
    [record] = office.ledger.jobs()
    assert record.status is JobStatus.REJECTED
    assert record.ending is not None
    assert words in record.ending.reason
    assert record.cost == 0
    certificate = office.text(record.results.certificate)
    assert "[JOB TERMINATE REASON]" in certificate
    assert words.split(maxsplit=1)[0] in certificate
    assert "rejected" in office.text(record.results.end)


def test_a_submission_that_is_deleted_before_it_is_read_is_let_go(office: Office) -> None:
    source = office.submit("t1")
    office.watcher.listen()
    office.cloud.delete(BUCKET, source.key)
    office.settle()
    assert office.ledger.jobs() == []
    assert [one.result for one in office.inbox.closed_without_job()] == ["deleted before it was read"]


def test_the_same_timestamp_twice_runs_once_and_says_so(office: Office) -> None:
    office.submit("t1")
    office.put("again/t1_submit.json", json.loads(office.text("lab1/submissions/t1_submit.json")))
    office.settle()
    [refused] = office.ledger.jobs(statuses=[JobStatus.REJECTED])
    assert 'timestamp "t1" was used before' in str(refused.ending)
    assert "-refused-" in refused.results.root
    assert len(office.ledger.jobs(statuses=[JobStatus.ADMITTED])) == 1


# Cancel files --------------------------------------------------------------------------------------------------------


def stop_of(office: Office, source: ObjectVersion) -> StopRequest | None:
    del source
    [record] = office.ledger.jobs(statuses=[JobStatus.ADMITTED])
    return office.ledger.stop_request(record.id)


@pytest.mark.parametrize("by", ["timestamp", "job"])
def test_a_cancel_file_stops_its_job(office: Office, by: str) -> None:
    source = office.submit("t1")
    office.settle()
    [record] = office.ledger.jobs()
    office.put("t1_cancel.json", {by: "t1" if by == "timestamp" else record.id, "reason": "wrong data"})
    office.settle()
    found = stop_of(office, source)
    assert found is not None
    assert (found.status, found.reason) == (JobStatus.CANCELLED, "cancelled by its user: wrong data")


def test_a_cancel_file_that_overtook_its_submission_waits_for_it(office: Office) -> None:
    office.put("t1_cancel.json", {"timestamp": "t1"})
    office.settle()
    assert len(office.inbox.pending()) == 1
    source = office.submit("t1")
    for _ in range(2):
        office.now += timedelta(seconds=20)
        office.settle()
    assert stop_of(office, source) is not None
    assert office.inbox.pending() == []


def test_a_cancel_file_in_one_batch_with_its_submission_stops_it(office: Office) -> None:
    source = office.submit("t1")
    office.put("t1_cancel.json", {"timestamp": "t1"})
    office.watcher.listen()
    office.watcher.work()
    assert stop_of(office, source) is not None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        ({}, "must name one job"),
        ({"timestamp": "t1", "job": "pca-1"}, "must name one job"),
        ({"timestamps": "t1"}, "Did you mean 'timestamp'?"),
        ({"timestamp": ["t1"]}, "must be text"),
        ({"timestamp": "%"}, "has no job with the timestamp"),
        ({"timestamp": "1"}, "has no job with the timestamp"),
        ({"job": "pca-000000000000"}, "has no job with the id"),
    ],
    ids=str,
)
def test_a_cancel_file_that_means_nothing_stops_nothing_and_says_why(office: Office, body: object, words: str) -> None:
    source = office.submit("t1")
    office.settle()
    office.put("cancel.json", body)
    office.settle()
    office.now += timedelta(minutes=3)
    office.settle()
    assert stop_of(office, source) is None
    [closed] = office.inbox.closed_without_job()
    assert words in closed.result
    assert closed.result.startswith("nothing was cancelled")


def test_a_group_cannot_cancel_the_job_of_another(office: Office) -> None:
    source = office.submit("t1")
    office.settle()
    [record] = office.ledger.jobs()
    for body in ({"timestamp": "t1"}, {"job": record.id}):
        office.put("cancel.json", body, group="lab2")
        office.now += timedelta(minutes=3)
        office.settle()
    office.now += timedelta(minutes=3)
    office.settle()
    assert stop_of(office, source) is None


def test_it_stops_gracefully_and_the_next_one_goes_on(office: Office) -> None:
    office.submit("t1")
    stop = threading.Event()
    first: Callable[[], int] = office.watcher.work

    def stop_then_work() -> int:
        stop.set()
        return first()

    office.watcher.work = stop_then_work  # type: ignore[method-assign]
    office.watcher.run(stop)
    office.restart()
    office.settle()
    assert office.jobs(JobStatus.ADMITTED) == ["t1"]
