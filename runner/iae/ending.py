"""How a task can end, and the error that ends it."""

from __future__ import annotations

from enum import Enum

from state.errors import JobError


class Ending(str, Enum):
    """The word that the report carries; the sentence beside it is for people."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    BAD_INPUT = "bad_input"
    DOWNLOAD_FAILED = "download_failed"
    ENVIRONMENT_MISSING = "environment_missing"
    RESULTS_TOO_LARGE = "results_too_large"
    UPLOAD_FAILED = "upload_failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


class TaskError(JobError):
    """A task cannot go on. The message is the reason its owner reads.

    Attributes:
        ending: the word for it.
    """

    def __init__(self, ending: Ending, reason: str) -> None:
        self.ending = ending
        super().__init__(reason)
