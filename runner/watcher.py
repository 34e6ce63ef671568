"""The watcher: uploads in, admitted or refused jobs out.

Events repeat and get lost. So each is written down before its message is deleted, the identity of an object decides
whether it is news, and a listing of the submissions finds what no event announced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from compiler.model import Platform
from compiler.names import queue
from runner.cloud_values import Cloud, Message
from runner.desk import Desk, Finding
from state.errors import CloudError, MayflyError
from state.inbox import Inbox, Letter, Taken
from state.keys import parse_cancel_key, parse_submit_key, prefix
from state.submission import ObjectVersion, identify

LONG_POLL_S = 5
RECONCILE = timedelta(minutes=5)
TRIES = 5
"""How often a submission is tried that Mayfly itself stumbles over, before it is refused."""
PAUSE = timedelta(seconds=5)
"""How long a submission waits that could not be looked at; the later ones of its group wait with it."""
GULP = 500
"""Messages read from a full queue before they are decided about; one transaction keeps a hundred."""
RECORD = 100
LONGEST = 1024
"""Characters of a key, or of anything else that an event says of an object."""
BATCH, SIDE_BY_SIDE = 128, 8
"""Submissions decided about at a time, and how many of them are looked at side by side."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What a watcher works with.

    Attributes:
        inbox: where events are kept.
        cloud: acts as the platform.
        platform: returns the platform as it stands now; blueprints and profiles may change while we watch.
        desk: decides.
        clock: returns the time, UTC.
        poll_s: how long one look at the queue may wait, seconds.
        on_decided: called when something was decided: there may be jobs whose turn it is.
    """

    inbox: Inbox
    cloud: Cloud
    platform: Callable[[], Platform]
    desk: Desk
    clock: Callable[[], datetime]
    poll_s: int = LONG_POLL_S
    on_decided: Callable[[], None] = lambda: None


class Watcher:
    """Listens, keeps, decides."""

    def __init__(self, post: Post) -> None:
        """Watch with `post`."""
        self.post = post
        self._seen: set[tuple[str, str, str]] = set()

    def run(self, stop: Event) -> None:
        """Watch until `stop` is set. What is in hand is finished; what is not stays in queue and inbox."""
        due = self.post.clock()
        while not stop.is_set():
            try:
                if self.post.clock() >= due:
                    self.reconcile()
                    self.post.desk.certify_refusals()
                    due = self.post.clock() + RECONCILE
                busy = self.work()
                # While there is something to decide, the queue is only glanced at: a burst is kept as it comes.
                self.listen(wait_s=0 if busy else self.post.poll_s)
            except CloudError as error:
                # The queue may be away, or not made yet: the platform is applied while we already watch.
                log.warning("%s", error)
                stop.wait(1)
        log.info("stopped watching")

    def listen(self, *, wait_s: int | None = None) -> int:
        """Take messages from the queue, keep what they announce, and only then delete them. Return how many."""
        post, name, heard = self.post, queue(self.post.platform().deployment.name), 0
        url = post.cloud.queue_url(name)
        wait = post.poll_s if wait_s is None else wait_s
        messages: list[Message] = []
        while heard < GULP:
            found = post.cloud.receive(url, wait_s=wait, most=10)
            heard, wait = heard + len(found), 0
            messages += found
            if not found or len(messages) >= RECORD:
                self._keep(url, messages)
                messages = []
            if not found:
                break
        self._keep(url, messages)
        return heard

    def _keep(self, url: str, messages: Sequence[Message]) -> None:
        """Keep what messages announce, then delete them."""
        post, known = self.post, list[tuple[Message, ObjectVersion]]()
        for message in messages:
            source = announced(message)
            if isinstance(source, str):
                # Left in the queue: after its deliveries are used up, SQS moves it to the dead-letter queue.
                letter = Letter(
                    id=message.id, seen=post.clock(), attempts=message.attempts, reason=source, body=message.body
                )
                if post.inbox.keep_letter(letter):
                    log.error("message %s cannot be read (%s): %.200s", message.id, source, message.body)
            else:
                known.append((message, source))
        if known:
            news = post.inbox.record_all([source for _, source in known], post.clock())
            log.info("%d event(s), %d of them news", len(known), news)
            post.cloud.acknowledge_all(url, [message.receipt for message, _ in known])

    def reconcile(self) -> int:
        """List all submissions and keep those that no event announced. Return how many that were.

        A listing of versions tells the identity of a thousand objects in one call.
        """
        post, found = self.post, 0
        platform = post.platform()
        for analysis in platform.blueprints:
            bucket = platform.bucket(analysis)
            for group in platform.groups:
                try:
                    listed = sorted(post.cloud.versions(bucket, prefix(group, "submissions")), key=lambda o: o.modified)
                except CloudError as error:
                    if error.code == "NoSuchBucket":  # checked in, and not applied yet
                        break
                    raise
                fresh: list[ObjectVersion] = []
                for one in listed:
                    mark = (bucket, one.key, one.version or one.etag)
                    if mark not in self._seen and is_ours(one.key):
                        self._seen.add(mark)
                        fresh.append(identify(bucket, one.key, version=one.version, etag=one.etag))
                news = post.inbox.record_all(fresh, post.clock()) if fresh else 0
                if news:
                    log.info("found without an event: %d in s3://%s/%s", news, bucket, group)
                found += news
        return found

    def work(self) -> int:
        """Decide about the next objects in the inbox. Return how many were begun with."""
        post = self.post
        taken = post.inbox.take(BATCH, post.clock())
        if not taken:
            return 0
        platform = post.platform()
        looked = self._look(taken, platform)
        held: set[str] = set()  # groups one of whose submissions waits: the later ones wait behind it
        ready: list[tuple[Taken, Finding]] = []
        for one, finding in zip(taken, looked, strict=True):
            group = one.source.key.partition("/")[0]
            if group in held:
                post.inbox.postpone([one.source], post.clock() + PAUSE, blameless=True)
            elif isinstance(finding, Finding):
                ready.append((one, finding))
            elif self._stumble(one, finding, platform):
                held.add(group)
        try:
            post.desk.conclude([finding for _, finding in ready], platform)
        except Exception:
            log.exception("a batch of %d could not be decided at once; each is decided alone", len(ready))
            for one, finding in ready:
                try:
                    post.desk.conclude([finding], platform)
                except Exception as error:  # noqa: BLE001  (one submission must not hold up the others)
                    self._stumble(one, error, platform)
        post.on_decided()
        return len(taken)

    def _look(self, taken: Sequence[Taken], platform: Platform) -> list[Finding | Exception]:
        """Look at submissions side by side; what goes wrong with one is in its place."""

        def look(one: Taken) -> Finding | Exception:
            try:
                return self.post.desk.look(one.source, platform)
            except Exception as error:  # noqa: BLE001  (it is dealt with in order, below)
                return error

        if len(taken) == 1:
            return [look(taken[0])]
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="desk") as pool:
            return list(pool.map(look, taken))

    def _stumble(self, one: Taken, error: Exception, platform: Platform) -> bool:
        """Deal with an object that could not be decided about. Return whether it is tried again."""
        source, post = one.source, self.post
        if isinstance(error, CloudError) and error.retryable:
            log.warning("s3://%s/%s waits: %s", source.bucket, source.key, error)
            post.inbox.postpone([source], post.clock() + PAUSE, blameless=True)
            return True
        log.error(
            "s3://%s/%s (try %d): %s",
            source.bucket,
            source.key,
            one.tries,
            error,
            exc_info=None if isinstance(error, MayflyError) else error,
        )
        if one.tries < TRIES:
            post.inbox.postpone([source], post.clock() + PAUSE, blameless=False)
            return True
        post.desk.refuse(source, platform, f"The platform could not read this submission: {error}")
        return False


def is_ours(key: str) -> bool:
    """Whether an object's key makes it something to decide about."""
    return parse_submit_key(key) is not None or parse_cancel_key(key) is not None


def announced(message: Message) -> ObjectVersion | str:
    """Return the object that an S3 event announces, or why a message is none.

    Only bucket and key are trusted, and read again from S3 before anything is done with them.
    """
    try:
        found = json.loads(message.body)
    except (ValueError, RecursionError):
        return "it is not JSON"
    try:
        detail: dict[str, Any] = found["detail"]
        thing = detail["object"]
        version, etag = thing.get("version-id") or "", thing.get("etag") or thing.get("eTag") or ""
        bucket, key = detail["bucket"]["name"], thing["key"]
    except (KeyError, TypeError, AttributeError, IndexError):
        return "it is not an event of S3: it names no object"
    parts = (bucket, key, version, etag)
    if not all(isinstance(part, str) and is_storable(part) for part in parts) or not (bucket and key):
        return "it is not an event of S3: bucket and key are no names that S3 could have"
    if not (version or etag):
        return "it names an object without a version and without an ETag"
    return identify(bucket, key, version=version, etag=etag)


def is_storable(text: str) -> bool:
    """Whether a database can hold what an event says; S3 itself never says anything else."""
    return "\0" not in text and len(text) <= LONGEST and not any("\ud800" <= one <= "\udfff" for one in text)
