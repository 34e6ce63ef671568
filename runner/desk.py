"""The desk: one uploaded submit file in, one job or one refusal out; one cancel file in, one wish to stop out.

Looking at a submission costs several calls to the cloud and changes nothing, so many are looked at side by side;
deciding is done in their order, and many decisions share one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from compiler.blueprint import Blueprint
from compiler.model import Platform
from compiler.profile import Period
from runner.admission import admit
from runner.cancelling import parse_cancel
from runner.cloud_values import Cloud
from runner.herald import Certifier
from runner.intake import SIZE_LIMIT, parse_submission, results_of_unread, unknown_fields
from runner.lookups import Lookups
from state.certificate import end_text
from state.errors import CloudError, SubmissionError
from state.inbox import Inbox
from state.job import Ending, JobStatus
from state.keys import ResultKeys, job_id, parse_cancel_key, parse_submit_key
from state.ledger import Ledger
from state.reservation import Reservation
from state.submission import ObjectVersion, Submission

EARLY = timedelta(minutes=2)
"""How long a cancel file waits for the submission that it names: S3's events may overtake each other."""
NOT_OURS = "not a submission to an analysis of this deployment"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about one uploaded object.

    Attributes:
        source: the object.
        blueprint: the analysis of its bucket; None when the object is nothing for us.
        body: its content.
        submission: what it asks for, as far as it could be understood.
        reservation: what it needs, when it may run.
        problem: why it may not.
        closing: why it needs no decision at all.
    """

    source: ObjectVersion
    blueprint: Blueprint | None = None
    body: bytes = b""
    submission: Submission | None = None
    reservation: Reservation | None = None
    problem: str = ""
    closing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Decides about submissions.

    Attributes:
        ledger: the durable record.
        inbox: where events are kept.
        cloud: acts as the platform.
        certifier: tells users of refusals.
        lookups: what many submissions ask alike.
        clock: returns the time, UTC.
    """

    ledger: Ledger
    inbox: Inbox
    cloud: Cloud
    certifier: Certifier
    lookups: Lookups
    clock: Callable[[], datetime]

    def decide(self, source: ObjectVersion, platform: Platform) -> None:
        """Decide about one object. Repeating it changes nothing.

        Raises:
            CloudError: S3 did not answer; nothing was decided.
        """
        self.conclude([self.look(source, platform)], platform)

    def look(self, source: ObjectVersion, platform: Platform) -> Finding:
        """Find out what an object asks for and whether it may have it, leaving the budget aside.

        Raises:
            CloudError: S3 did not answer.
        """
        blueprint = platform.analysis_of(source.bucket)
        if blueprint is None:
            return Finding(source=source, closing=NOT_OURS)
        found = Finding(source=source, blueprint=blueprint)
        try:
            # One byte more than is allowed tells a file that is too large from one that just fits.
            body = self.cloud.read(source.bucket, source.key, limit=SIZE_LIMIT + 1, version=source.version_id)
        except CloudError as error:
            if error.code in {"NoSuchKey", "NoSuchBucket", "NoSuchVersion"}:
                return replace(found, closing="deleted before it was read")
            raise
        found = replace(found, body=body)
        if parse_cancel_key(source.key) is not None:
            return found
        if parse_submit_key(source.key) is None:
            return replace(found, closing=NOT_OURS)
        try:
            found = replace(found, submission=parse_submission(body, source))
            return replace(found, reservation=self._reserve(found, platform))
        except SubmissionError as error:
            return replace(found, problem=error.reason)

    def _reserve(self, found: Finding, platform: Platform) -> Reservation | None:
        if found.submission is None:
            return None
        admission = admit(
            found.submission,
            platform=platform,
            cloud=self.cloud,
            digest=lambda analysis: self.lookups.digest(platform, analysis),
            now=self.clock(),
            version=self.lookups.version,
            find_image=self.lookups.image,
        )
        budget = platform.groups[admission.job.group].budget
        return Reservation(
            job=admission.job,
            source=found.source,
            bound=admission.bound,
            cap=budget.amount,
            since=period_start(budget.period, self.clock()),
            vcpus=admission.vcpus,
            needs=admission.needs,
            notes=(*admission.notes, *notes_on(found.body)),
        )

    def conclude(self, findings: Sequence[Finding], platform: Platform) -> None:
        """Decide in order: reservations in one transaction, refusals and cancels one by one.

        Raises:
            CloudError: a refusal could not be told to its user yet; it is recorded, and told later.
        """
        waiting: list[Finding] = []
        for found in findings:
            if found.reservation is not None:
                waiting.append(found)
                continue
            self._admit(waiting, platform)  # before what comes after it: a cancel may mean one of them
            waiting = []
            if found.closing:
                self.inbox.close(found.source, self.clock(), found.closing)
            elif found.problem:
                self.refuse(found.source, platform, found.problem, body=found.body, submission=found.submission)
            elif found.blueprint is not None:
                self._cancel(found, found.blueprint)
        self._admit(waiting, platform)

    def _admit(self, findings: Sequence[Finding], platform: Platform) -> None:
        wanted = [found.reservation for found in findings if found.reservation is not None]
        if not wanted:
            return
        mended = [one.job for one in wanted if self._forget_refusal(one.job.results)]
        outcomes = self.ledger.admit_all(wanted, self.clock())
        for found, one, outcome in zip(findings, wanted, outcomes, strict=True):
            if isinstance(outcome, SubmissionError):
                self.refuse(found.source, platform, outcome.reason, body=found.body, submission=found.submission)
            else:
                log.info("%s %s: %d task(s)", "admitted" if outcome else "known", one.job.id, len(one.job.tasks))
                if one.job in mended:
                    with suppress(CloudError):  # the herald tells, too, only later
                        self.certifier.write(one.job.id)

    def _forget_refusal(self, results: ResultKeys) -> bool:
        """Take away the end marker of a submission that was refused and is now made again in the same folder.

        Before it is admitted: from then on the marker is the job's own.
        """
        if not self.ledger.was_refused(results):
            return False
        self.cloud.delete(results.bucket, results.end)
        return True

    def _cancel(self, found: Finding, blueprint: Blueprint) -> None:
        """Stop the job that a cancel file names; a group can only mean its own."""
        source, now = found.source, self.clock()
        group = parse_cancel_key(source.key) or ""
        try:
            wish = parse_cancel(found.body)
        except SubmissionError as error:
            self._cancel_nothing(source, error.reason)
            return
        named = self.ledger.find_called(
            group=group, analysis=blueprint.id, bucket=source.bucket, job=wish.job, timestamp=wish.timestamp
        )
        stopped = [job for job in named if self.ledger.request_cancel(job, wish.reason, now)]
        if stopped:
            self.inbox.close(source, now, f"stops {', '.join(stopped)}")
            log.info("cancelled by its user: %s", ", ".join(stopped))
        elif named:
            over = ", ".join(f"{job} ({status})" for job, status in sorted(named.items()))
            self._cancel_nothing(source, f"the job is over already, or is being taken down: {over}.")
        elif self._is_early(source):
            self.inbox.postpone([source], now + EARLY / 8, blameless=True)
        else:
            self._cancel_nothing(source, f"{group} has no job {wish} in {blueprint.id}.")

    def _cancel_nothing(self, source: ObjectVersion, why: str) -> None:
        self.inbox.close(source, self.clock(), f"nothing was cancelled: {why}")
        log.info("nothing was cancelled by s3://%s/%s: %s", source.bucket, source.key, why)

    def _is_early(self, source: ObjectVersion) -> bool:
        head = self.cloud.head(source.bucket, source.key)
        return head is not None and self.clock() - head.modified < EARLY

    def refuse(
        self,
        source: ObjectVersion,
        platform: Platform,
        reason: str,
        *,
        body: bytes = b"",
        submission: Submission | None = None,
    ) -> None:
        """Keep that a submission was refused and tell its user why."""
        key, blueprint = parse_submit_key(source.key), platform.analysis_of(source.bucket)
        if key is None or blueprint is None:
            self.inbox.close(source, self.clock(), reason)
            return
        identity = job_id(analysis=blueprint.id, bucket=source.bucket, key=source.key, version=source.version)
        if submission is not None and submission.bypass:
            self._tell_outside(submission, platform, identity, reason)
        self.ledger.reject(
            identity,
            source=source,
            group=key.group,
            analysis=blueprint.id,
            results=self._refusal_keys(source, identity, body, submission),
            reason=reason,
            at=self.clock(),
        )
        log.info("refused %s: %s", identity, reason)
        self.certifier.close(identity)

    def _tell_outside(self, submission: Submission, platform: Platform, identity: str, reason: str) -> None:
        """Put the end marker where a client with storage of its own waits for it, if that is its group's storage.

        Before the refusal is kept, so that a crash in between does it again rather than never.
        """
        keys, profile = submission.results, platform.groups.get(submission.group)
        listed = profile is not None and keys.bucket in profile.storage.outside_buckets
        if not listed or self.ledger.has_results(keys, other_than=identity):
            return
        try:
            text = end_text(Ending(status=JobStatus.REJECTED, reason=reason))
            self.cloud.write(keys.bucket, keys.end, text.encode())
        except CloudError as error:  # a bucket that we do not rule over; the analysis's own is told in any case
            log.warning("the refusal of %s could not be told in s3://%s: %s", identity, keys.bucket, error)

    def certify_refusals(self) -> None:
        """Write the certificates that a crash, or an S3 that did not answer, kept from being written."""
        for record in self.ledger.uncertified():
            self.certifier.close(record.id)

    def _refusal_keys(
        self, source: ObjectVersion, identity: str, body: bytes, submission: Submission | None
    ) -> ResultKeys:
        """Return where a refusal is told: in the job's own folder, unless that is another job's.

        The certificate of a refused job stays in the analysis's bucket: its storage bypass was not accepted either.
        """
        own = submission is not None and not submission.bypass
        keys = submission.results if submission and own else results_of_unread(body, source, identity)
        if not self.ledger.has_results(keys, other_than=identity):
            return keys
        return ResultKeys(bucket=keys.bucket, root=f"{keys.root.rstrip('/')}-refused-{identity.rsplit('-', 1)[-1]}/")


def notes_on(body: bytes) -> list[str]:
    """Return what the user should know about a submit file that was accepted."""
    unread = unknown_fields(body)
    return [f"Nothing reads these fields of the submit file: {', '.join(unread)}."] if unread else []


def period_start(period: Period, now: datetime) -> datetime | None:
    """Return when the present period of a budget began, UTC; None for a budget without periods."""
    if period is Period.MONTHLY:
        return datetime(now.year, now.month, 1, tzinfo=UTC)
    return datetime(now.year, 1, 1, tzinfo=UTC) if period is Period.YEARLY else None
