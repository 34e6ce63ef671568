"""A cancel.json read: which job its writer wants stopped. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.shape import suggest
from runner.intake import check_name, read_fields, show
from state.errors import SubmissionError

REASON = "cancelled by its user"
_LONGEST_REASON = 200
_FIELDS = ("timestamp", "job", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelWish:
    """What a cancel.json asks for.

    Attributes:
        job: id of the job, or None.
        timestamp: the timestamp of its submit file, or None; one of the two is given.
        reason: why, for the certificate.
    """

    job: str | None
    timestamp: str | None
    reason: str = REASON

    def __str__(self) -> str:
        """Name the job in the words of the file."""
        return f"with the id {show(self.job)}" if self.job else f"with the timestamp {show(self.timestamp)}"


def parse_cancel(body: bytes) -> CancelWish:
    """Read a cancel.json.

    Raises:
        SubmissionError: it names no job; the reason is for the person who uploaded it.
    """
    fields = read_fields(body, "The cancel file")
    for name in fields:
        if name not in _FIELDS:
            raise SubmissionError(f"The cancel file has a field {show(name)}. {suggest(name, _FIELDS)}")
    job, timestamp = _name(fields.get("job"), "job"), _name(fields.get("timestamp"), "timestamp")
    if (job is None) == (timestamp is None):
        raise SubmissionError('The cancel file must name one job: {"timestamp": "…"} or {"job": "…"}.')
    reason = _name(fields.get("reason"), "reason")
    return CancelWish(
        job=job, timestamp=timestamp, reason=f"{REASON}: {reason[:_LONGEST_REASON]}" if reason else REASON
    )


def _name(value: object, field: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, (bool, dict, list)):
        raise SubmissionError(f"{field} is {show(value)}, but must be text.")
    text = str(value)
    return text if field == "reason" and text.isprintable() else check_name(text, field)
