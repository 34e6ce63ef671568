"""Figures for Prometheus: the ledger's, and what the cloud still holds, as text over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf

import sqlalchemy as sa

from runner.cloud_values import Leftover, LeftoverKind
from state.errors import MayflyError
from state.figures import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS = frozenset({"/", "/metrics"})

Sample = tuple[Mapping[str, str], float]
log = logging.getLogger(__name__)


def render(figures: Figures, forgotten: Sequence[Leftover] | None) -> str:
    """Return the figures in Prometheus's text format.

    Args:
        figures: of the ledger.
        forgotten: what no job owns any more and is still there; None when the cloud did not answer.
    """
    return "".join(_lines(figures, forgotten))


def _lines(figures: Figures, forgotten: Sequence[Leftover] | None) -> Iterator[str]:
    jobs: list[Sample] = [({"status": status.value}, count) for status, count in figures.jobs.items()]
    yield from _metric("mayfly_jobs", "Jobs by status.", jobs)
    for name, text, value in (
        ("mayfly_oldest_waiting_seconds", "Age of the oldest job that waits for its turn.", figures.oldest_waiting_s),
        ("mayfly_jobs_overdue", "Jobs past their deadline that are not over.", figures.overdue),
        ("mayfly_jobs_untold", "Refused jobs whose user was not told yet.", figures.uncertified),
        ("mayfly_events_open", "Uploads that nobody has decided about.", figures.open_events),
        ("mayfly_oldest_event_seconds", "Age of the oldest undecided upload.", figures.oldest_event_s),
        ("mayfly_dead_letters", "Messages that could not be read.", figures.letters),
        ("mayfly_notifications_late", "Notifications that are due and not sent.", figures.late_messages),
        ("mayfly_running_cost_usd", "What jobs that are not settled have cost until now.", float(figures.running_cost)),
        ("mayfly_promised_usd", "What is reserved for jobs that are not settled.", float(figures.promised)),
        ("mayfly_reaped", "Leftovers that the reaper ever removed.", figures.reaped),
        ("mayfly_reaper_silence_seconds", "Seconds since the reaper last went round.", figures.reaper_silence_s),
        ("mayfly_cloud_up", "Whether the cloud answered.", float(forgotten is not None)),
    ):
        yield from _metric(name, text, [({}, value)])
    beats: list[Sample] = [({"worker": name}, age) for name, age in sorted(figures.workers.items())]
    yield from _metric("mayfly_worker_silence_seconds", "Seconds since a worker was last heard of.", beats)
    if forgotten is not None:
        kinds = [one.kind for one in forgotten]
        found: list[Sample] = [({"kind": kind.value}, kinds.count(kind)) for kind in LeftoverKind]
        yield from _metric("mayfly_leftovers", "Resources of no job that is under way.", found)


def _metric(name: str, text: str, samples: Sequence[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        number = "+Inf" if value == inf else f"{value:.17g}"
        yield f"{name}{{{inside}}} {number}\n" if inside else f"{name} {number}\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class MetricsServer(ThreadingHTTPServer):
    """Answers each scrape with fresh figures; a ledger that is away is a 503, which Prometheus records as down."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], collect: Callable[[], str]) -> None:
        """Listen at `address`; a port of 0 means any that is free. `collect` returns the text of one scrape."""
        self.collect = collect
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer

    def do_GET(self) -> None:
        """Answer a scrape."""
        if self.path.partition("?")[0] not in PATHS:
            self._answer(404, "Only /metrics is here.\n")
            return
        try:
            text = self.server.collect()
        except (MayflyError, sa.exc.SQLAlchemyError) as error:
            log.warning("no figures: %s", error)
            self._answer(503, "The ledger does not answer.\n")
            return
        self._answer(200, text)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name that the library calls it by)
        """Say nothing: a scrape every few seconds is no news."""
