"""What goes wrong in front of a process that lives: AWS throttles, breaks, or loses an answer; Terraform is killed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from state.errors import CloudError
from tests.crash.book import Book
from tests.crash.kill_points import find_place


class CallFault(StrEnum):
    """What can go wrong with a call: before it has an effect, or after it had one that the caller never hears of."""

    THROTTLE = "throttle"
    ERROR = "500"
    LOST_ANSWER = "lost answer"


class TerraformFault(StrEnum):
    """What can go wrong with a Terraform; one that is killed leaves machines, no state and a lock that nobody holds."""

    CAPACITY = "no capacity"
    KILLED = "killed with its lock held"


CODES = {CallFault.THROTTLE: "SlowDown", CallFault.ERROR: "InternalError", CallFault.LOST_ANSWER: "Unreachable"}
ALL = len(CallFault)
Fault = TypeVar("Fault", bound=StrEnum)


class Faults:
    """Faults that did not happen yet.

    Each call, named by the code that leads to it, meets `kinds` different faults in a whole run: with one, neighbours
    meet different ones. That is for all processes of the run together, so every one of them is followed by a success.
    """

    def __init__(self, book: Path, *, kinds: int) -> None:
        self._book, self._kinds = Book(book), kinds

    def choose(self, call: str, possible: Sequence[Fault]) -> Fault | None:
        """Return what goes wrong with a call now; None when it goes well."""
        point = f"{call} in {find_place()}"
        first = zlib.crc32(point.encode()) % len(possible)
        for fault in [*possible[first:], *possible[:first]][: self._kinds]:
            if self._book.add(f"{fault} at {point}"):
                return fault
        return None


def as_error(fault: CallFault, method: str) -> CloudError:
    """Return the error that a caller gets to see."""
    return CloudError(f"{method}: {fault}", service="aws", code=CODES[fault], retryable=True)
