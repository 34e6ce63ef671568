from __future__ import annotations

import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compiler.deployment import Mail
from compiler.model import Platform
from compiler.profile import Notify
from runner.notify import NotSentError, PostOffice, Sender, make_sender
from state.database import sqlite_url
from state.job import Ending, JobStatus
from state.ledger import Ledger, open_ledger
from state.notices import MOST_TRIES, Notice, Notices
from state.reservation import Reservation
from tests.fakes.jobs import NOW, a_job, a_source
from tests.fakes.platform import a_platform

MAIL, HOOK = "a@x.org", "http://127.0.0.1:1/hook"
JOB = a_job()


def told(*, mail: Mail | None = None, emails: tuple[str, ...] = (), webhooks: tuple[str, ...] = ()) -> Platform:
    platform = a_platform()
    group = replace(platform.groups["lab1"], notify=Notify(emails=emails, webhooks=webhooks))
    deployment = replace(platform.deployment, mail=mail or Mail(server="127.0.0.1", sender="m@y.org", port=1))
    return replace(platform, groups={**platform.groups, "lab1": group}, deployment=deployment)


class Stand:
    """A ledger with one job, and a post office beside it."""

    def __init__(self, folder: Path, platform: Platform, send: Sender | None = None) -> None:
        self.ledger: Ledger = open_ledger(sqlite_url(folder / "ledger.db"))
        self.now, self.platform = NOW, platform
        self.sent: list[tuple[str, str]] = []
        self.office = PostOffice(
            notices=Notices(self.ledger.engine),
            platform=lambda: self.platform,
            send=send or self._send,
            clock=lambda: self.now,
        )
        wanted = Reservation(job=JOB, source=a_source(), bound=Decimal(1), cap=Decimal(9), since=None)
        self.ledger.admit_all([wanted], NOW)

    def _send(self, notice: Notice, channel: str, platform: Platform) -> None:
        assert platform is self.platform
        self.sent.append((notice.event, channel))

    def run_job(self, ending: Ending) -> None:
        for _ in range(2):  # steps are repeated after a crash
            self.ledger.advance(JOB.id, JobStatus.PROVISIONING, NOW)
        for status in (JobStatus.RUNNING, JobStatus.UPLOADING, JobStatus.RUNNING):
            self.ledger.advance(JOB.id, status, NOW)
        self.ledger.conclude(JOB.id, ending, NOW)
        for _ in range(2):
            self.ledger.finish(JOB.id, NOW)


DONE = Ending(status=JobStatus.DONE, reason="1 dataset processed.")
FAILED = Ending(status=JobStatus.FAILED, reason="the disk is full")


def test_started_and_ended_are_told_once_on_every_channel(tmp_path: Path) -> None:
    stand = Stand(tmp_path, told(emails=(MAIL,), webhooks=(HOOK,)))
    stand.run_job(FAILED)
    for _ in range(3):
        stand.office.work()
    assert stand.sent == [
        (f"started {JOB.id}", f"hook:{HOOK}"),
        (f"started {JOB.id}", f"mail:{MAIL}"),
        (f"ended {JOB.id}", f"hook:{HOOK}"),
        (f"ended {JOB.id}", f"mail:{MAIL}"),
    ]


def test_a_failure_says_why(tmp_path: Path) -> None:
    stand = Stand(tmp_path, told())
    stand.run_job(FAILED)
    [_, ended] = Notices(stand.ledger.engine).fresh()
    assert (ended.kind, ended.text) == ("failed", f"Job {JOB.id} (pca) is over: failed. the disk is full")


def test_who_wants_no_notice_gets_none_and_nothing_piles_up(tmp_path: Path) -> None:
    stand = Stand(tmp_path, told())
    stand.run_job(DONE)
    assert stand.office.work() == 0
    assert Notices(stand.ledger.engine).fresh() == []


def test_a_dead_server_loses_nothing_and_is_tried_again_less_and_less_often(tmp_path: Path) -> None:
    tries: list[object] = []

    def fail(notice: Notice, channel: str, platform: Platform) -> None:
        del notice, channel, platform
        tries.append(stand.now)
        raise NotSentError("nobody there", again=True)

    stand = Stand(tmp_path, told(emails=(MAIL,)), fail)
    stand.run_job(DONE)
    assert stand.ledger.job(JOB.id).status is JobStatus.DONE
    assert stand.office.work() == 2
    assert stand.office.work() == 0
    for _ in range(200):
        stand.now += timedelta(minutes=15)
        stand.office.work()
    assert len(tries) == 2 * MOST_TRIES


def test_a_refusal_for_good_is_not_repeated(tmp_path: Path) -> None:
    tries: list[str] = []

    def refuse(notice: Notice, channel: str, platform: Platform) -> None:
        del channel, platform
        tries.append(notice.event)
        raise NotSentError("no such user", again=False)

    stand = Stand(tmp_path, told(emails=(MAIL,)), refuse)
    stand.run_job(DONE)
    for _ in range(5):
        stand.office.work()
        stand.now += timedelta(hours=3)
    assert len(tries) == 2


def test_what_may_have_arrived_is_never_sent_again(tmp_path: Path) -> None:
    tries: list[str] = []

    def break_off(notice: Notice, channel: str, platform: Platform) -> None:
        del channel, platform
        tries.append(notice.event)
        raise ConnectionError("broken off after the body")

    stand = Stand(tmp_path, told(emails=(MAIL,)), break_off)
    stand.run_job(DONE)
    for _ in range(5):
        stand.office.work()
        stand.now += timedelta(hours=3)
    assert len(tries) == 2


def test_a_process_that_dies_while_sending_sends_no_second_one(tmp_path: Path) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: nothing after it runs."""

    tries: list[str] = []

    def die(notice: Notice, channel: str, platform: Platform) -> None:
        del channel, platform
        tries.append(notice.event)
        raise Killed

    stand = Stand(tmp_path, told(emails=(MAIL,)), die)
    stand.run_job(DONE)
    with pytest.raises(Killed):
        stand.office.work()
    again = replace(stand.office, send=stand._send)
    stand.now += timedelta(hours=3)
    again.work()
    assert tries + [event for event, _ in stand.sent] == [f"started {JOB.id}", f"ended {JOB.id}"]


# Real servers ------------------------------------------------------------------------------------------------------


class MailServer(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs; recipients called `nobody@…` are unknown, `busy@…` are put off."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if word.startswith("RCPT") and "NOBODY@" in word:
                self.wfile.write(b"550 unknown\r\n")
            elif word.startswith("RCPT") and "BUSY@" in word:
                self.wfile.write(b"451 later\r\n")
            elif word == "DATA":
                self.wfile.write(b"354 go\r\n")
                lines = []
                while (one := self.rfile.readline()) != b".\r\n":
                    lines.append(one)
                self.server.mails.append(b"".join(lines).decode())  # type: ignore[attr-defined]
                self.wfile.write(b"250 taken\r\n")
            elif word == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


class Deaf(socketserver.StreamRequestHandler):
    """A mail server that greets and goes away."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")


class Hook(BaseHTTPRequestHandler):
    """Answers with the status in its path, and keeps what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(int(self.path.rpartition("/")[2]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NOTICE = Notice(
    number=1, group="lab1", event="ended pca-1", kind="failed", job="pca-1", text="Job pca-1: ü\nline", at=NOW
)


def test_a_mail_reaches_a_real_server_and_its_refusals_are_told_apart() -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailServer)
    server.mails = []  # type: ignore[attr-defined]
    send = make_sender({})
    with serving(server) as port:
        platform = told(mail=Mail(server="127.0.0.1", sender="mayfly@lab.org", port=port))
        send(NOTICE, "mail:a@x.org", platform)
        with pytest.raises(NotSentError) as unknown:
            send(NOTICE, "mail:nobody@x.org", platform)
        with pytest.raises(NotSentError) as busy:
            send(NOTICE, "mail:busy@x.org", platform)
    assert (unknown.value.again, busy.value.again) == (False, True)
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Deaf)) as deaf:
        flapping = told(mail=Mail(server="127.0.0.1", sender="mayfly@lab.org", port=deaf))
        with pytest.raises(NotSentError) as signing:
            make_sender({"MAYFLY_SMTP_USER": "u", "MAYFLY_SMTP_PASSWORD": "p"})(NOTICE, "mail:a@x.org", flapping)
    assert signing.value.again  # it went away before it was given anything
    [text] = server.mails  # type: ignore[attr-defined]
    assert "Subject: [demo] Job pca-1: failed" in text
    assert "Message-ID: <" in text
    with pytest.raises(NotSentError, match="is not reached") as gone:
        send(NOTICE, "mail:a@x.org", platform)
    assert gone.value.again


def test_a_webhook_is_signed_named_and_believed_only_when_it_answers_with_success() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.posts = []  # type: ignore[attr-defined]
    send, platform = make_sender({"MAYFLY_WEBHOOK_SECRET": "s3cret"}), told()
    with serving(server) as port:
        send(NOTICE, f"hook:http://127.0.0.1:{port}/204", platform)
        for status, again in ((404, False), (302, False), (429, True), (503, True)):
            with pytest.raises(NotSentError, match=str(status)) as refused:
                send(NOTICE, f"hook:http://127.0.0.1:{port}/{status}", platform)
            assert refused.value.again is again
    headers, body = server.posts[0]  # type: ignore[attr-defined]
    assert headers["X-Mayfly-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert json.loads(body)["text"] == NOTICE.text
    assert len({sent["Idempotency-Key"] for sent, _ in server.posts}) == 1  # type: ignore[attr-defined]


def test_a_webhook_outside_this_machine_must_be_encrypted() -> None:
    with pytest.raises(NotSentError, match="https") as refused:
        make_sender({})(NOTICE, "hook:http://example.org/x", told())
    assert not refused.value.again
