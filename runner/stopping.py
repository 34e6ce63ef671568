"""Ending this process gracefully: whoever waits lets go of its job, which the next worker resumes."""

from __future__ import annotations

from threading import Event


class Stopping(BaseException):
    """This process is to end.

    No `Exception`, because nothing that deals with what goes wrong may take it for that: a job would be called failed.
    """


def pause(stop: Event, seconds: float) -> None:
    """Sleep.

    Raises:
        Stopping: `stop` was set; going on would be to ask again without any pause.
    """
    if stop.wait(seconds):
        raise Stopping
