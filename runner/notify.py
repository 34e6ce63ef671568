"""Notices to people: e-mail and webhooks, from the outbox that the ledger fills.

Nothing waits for a notice, and nothing is lost with one. A delivery is claimed before its server is spoken to. What
the server refuses, or never heard of, is tried again; when nobody knows whether it was taken (the connection broke in
the middle, this process died), it is not sent again: rather no message than two for one event.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Event
from typing import Protocol
from urllib.parse import urlsplit

from compiler.deployment import Mail
from compiler.model import Platform
from runner.cloud_values import is_loopback
from state.notices import Notice, Notices

TIMEOUT_S = 20
LOOK_S = 2.0
IMPLICIT_TLS, PLAIN = 465, 25
ALWAYS_WRONG = 500
"""SMTP's and HTTP's classes: below it, a refusal may pass."""

MAIL, HOOK = "mail:", "hook:"
"""How a channel's name begins in the outbox."""

log = logging.getLogger(__name__)


class NotSentError(Exception):
    """A message was certainly not taken; `again` says whether another try may help."""

    def __init__(self, problem: str, *, again: bool) -> None:
        """Keep what the caller decides by."""
        self.again = again
        super().__init__(problem)


class Sender(Protocol):
    """Hands one notice to one channel."""

    def __call__(self, notice: Notice, channel: str, platform: Platform) -> None:
        """Send it.

        Raises:
            NotSentError: it was certainly not taken.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PostOffice:
    """What the notifier works with.

    Attributes:
        notices: the outbox.
        platform: returns the platform as it stands now: who is told, and through which server.
        send: hands over one notice.
        clock: returns the time, UTC.
    """

    notices: Notices
    platform: Callable[[], Platform]
    send: Sender
    clock: Callable[[], datetime]

    def work(self) -> int:
        """Choose channels for what is new and deliver what is due. Return how many deliveries were tried."""
        platform = self.platform()
        for notice in self.notices.fresh():
            self.notices.spread(notice.number, channels_of(platform, notice.group), self.clock())
        tried = 0
        for notice, channel in self.notices.due(self.clock()):
            if self.notices.claim(notice.number, channel, self.clock()):
                tried += 1
                self._deliver(notice, channel, platform)
        return tried

    def _deliver(self, notice: Notice, channel: str, platform: Platform) -> None:
        try:
            self.send(notice, channel, platform)
        except NotSentError as error:
            log.warning("notice %d was not sent to %s: %s", notice.number, channel, error)
            self.notices.failed(notice.number, channel, self.clock(), str(error), again=error.again)
        except Exception as error:
            log.exception("nobody knows whether notice %d reached %s; it is not sent again", notice.number, channel)
            self.notices.uncertain(notice.number, channel, f"perhaps sent: {error}")
        else:
            self.notices.sent(notice.number, channel, self.clock())


def keep_notifying(office: PostOffice, stop: Event) -> None:
    """Deliver again and again until `stop` is set."""
    while not stop.wait(LOOK_S):
        try:
            office.work()
        except Exception:  # a database that is away for a moment must not silence us for good
            log.exception("notices could not be looked after")


def channels_of(platform: Platform, group: str) -> list[str]:
    """Return the channels a group wants to be told through; addresses need the deployment's mail server."""
    profile = platform.groups.get(group)
    if profile is None:
        return []
    addresses = profile.notify.emails if platform.deployment.mail is not None else ()
    return [*(MAIL + one for one in addresses), *(HOOK + one for one in profile.notify.webhooks)]


def make_sender(environment: Mapping[str, str]) -> Sender:
    """Return what sends notices, with the secrets that this process was given.

    `MAYFLY_SMTP_USER` and `MAYFLY_SMTP_PASSWORD` sign in to the mail server; with `MAYFLY_WEBHOOK_SECRET` webhooks
    are signed.
    """

    def send(notice: Notice, channel: str, platform: Platform) -> None:
        deployment = platform.deployment
        if channel.startswith(HOOK):
            post(notice, channel.removeprefix(HOOK), deployment.name, environment.get("MAYFLY_WEBHOOK_SECRET", ""))
        elif deployment.mail is None:
            raise NotSentError("the deployment has no mail server any more", again=False)
        else:
            mail(
                write_mail(notice, channel.removeprefix(MAIL), deployment.mail.sender, deployment.name),
                deployment.mail,
                user=environment.get("MAYFLY_SMTP_USER", ""),
                password=environment.get("MAYFLY_SMTP_PASSWORD", ""),
            )

    return send


def write_mail(notice: Notice, to: str, sender: str, deployment: str) -> EmailMessage:
    """Return a notice as an e-mail; the same notice always has the same Message-ID."""
    message = EmailMessage()
    subject = notice.text.splitlines()[0] if notice.kind == "budget" else f"Job {notice.job}: {notice.kind}"
    message["Subject"] = f"[{deployment}] {' '.join(subject.split())}"[:200]
    message["From"], message["To"] = sender, to
    message["Date"] = notice.at
    message["Message-ID"] = f"<{name_of(notice, deployment)}@{sender.rpartition('@')[2] or deployment}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{notice.text}\n\nGroup {notice.group}, {notice.at:%Y-%m-%d %H:%M:%S} UTC\n")
    return message


def mail(message: EmailMessage, server: Mail, *, user: str, password: str) -> None:
    """Hand an e-mail to the mail server: port 465 speaks TLS, 25 nothing, every other one STARTTLS.

    Raises:
        NotSentError: the server was not reached, or refused it.
    """
    try:
        link = _connect(server, user, password)
    except (OSError, smtplib.SMTPException) as error:
        raise NotSentError(f"{server.server}:{server.port} is not reached: {error}", again=True) from error
    with link:
        try:
            link.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise NotSentError(f"the recipient is refused: {codes}", again=min(codes) < ALWAYS_WRONG) from error
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            text = said if isinstance(said, str) else said.decode(errors="replace")
            again = error.smtp_code < ALWAYS_WRONG
            raise NotSentError(f"{server.server} says {error.smtp_code} {text}", again=again) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotSentError(str(error), again=False) from error


def _connect(server: Mail, user: str, password: str) -> smtplib.SMTP:
    """Return a mail server that is ready to take messages; until then nothing can have been sent."""
    if server.port == IMPLICIT_TLS:
        link: smtplib.SMTP = smtplib.SMTP_SSL(
            server.server, server.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        link = smtplib.SMTP(server.server, server.port, timeout=TIMEOUT_S)
    try:
        if server.port not in {IMPLICIT_TLS, PLAIN} and not is_loopback(f"smtp://{server.server}"):
            link.starttls(context=ssl.create_default_context())
        if user:
            link.login(user, password)
    except BaseException:
        link.close()
        raise
    return link


def post(notice: Notice, url: str, deployment: str, secret: str) -> None:
    """Post a notice to a webhook as JSON. Redirects are not followed.

    Raises:
        NotSentError: it was not reached, or answered with an error.
    """
    found = urlsplit(url)
    if found.scheme != "https" and not is_loopback(url):
        raise NotSentError("a webhook must be an https URL", again=False)
    body = json.dumps(
        {
            "id": name_of(notice, deployment),
            "deployment": deployment,
            "group": notice.group,
            "kind": notice.kind,
            "job": notice.job,
            "text": notice.text,
            "at": notice.at.isoformat(),
        },
        sort_keys=True,
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "mayfly",
        "Idempotency-Key": name_of(notice, deployment),
    }
    if secret:
        headers["X-Mayfly-Signature"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    kind = HTTPSConnection if found.scheme == "https" else HTTPConnection
    link = kind(found.hostname or "", found.port, timeout=TIMEOUT_S)
    try:
        link.connect()
    except OSError as error:
        raise NotSentError(f"{found.netloc} is not reached: {error}", again=True) from error
    try:
        link.request("POST", (found.path or "/") + (f"?{found.query}" if found.query else ""), body, headers)
        status = link.getresponse().status
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"{found.netloc} broke off: {error}") from error
    finally:
        link.close()
    if not 200 <= status < 300:  # noqa: PLR2004  (HTTP's class of success)
        again = status >= ALWAYS_WRONG or status in {408, 425, 429}
        raise NotSentError(f"{found.netloc} answers {status}", again=again)


def name_of(notice: Notice, deployment: str) -> str:
    """Return a name that is the same for every delivery of a notice, so that receivers can tell them apart."""
    return hashlib.sha256(f"{deployment}\0{notice.group}\0{notice.event}".encode()).hexdigest()[:32]
