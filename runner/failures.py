"""Why a Terraform failed, in one sentence with a way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from runner.events import Diagnostic
from runner.process import Finished

LOCK_FIELD = re.compile(r"^\s*(ID|Who|Created):\s*(.+?)\s*$", re.MULTILINE)
MOST = 400
"""Characters of Terraform's own words in a message; all of them are in the diagnostics and the log."""
FULL = "no space left on device"
CRASH = ("plugin did not respond", "plugin process exited", "plugin crashed", "panic:", "connection is shutting down")
UNKNOWN = "Its state may not know all it made: sweep by tag, then destroy."
UNREADABLE = (
    "unsupported state file format",
    "unsupported state snapshot",
    "unexpected end of json",
    "state snapshot is corrupt",
    "invalid state file format",
    "failed to decode",
)


def explain_failure(
    command: str, root: Path, finished: Finished, diagnostics: Sequence[Diagnostic], said: Sequence[str]
) -> str:
    """Return the message of a TerraformError.

    Args:
        command: the sub-command.
        root: where it ran.
        finished: how it ended.
        diagnostics: the errors it reported.
        said: the first lines that were no events: what a crash prints.
    """
    whole = "\n".join([*(f"{d.summary}\n{d.detail}" for d in diagnostics), *said])
    first = shorten(str(diagnostics[0]) if diagnostics else " ".join(said), MOST, placeholder=" …")
    ending = _explain_ending(finished, disk_is_full=FULL in whole.lower()) or _explain_text(whole, first)
    return f"{root}: terraform {command} {ending or f'failed: {first or _nothing(finished)}'}"


def _explain_ending(finished: Finished, *, disk_is_full: bool) -> str:
    """Return what a stop or a signal means; empty when it ended by itself."""
    if finished.killed:
        return f"did not end within its grace after it was interrupted, and was killed. {UNKNOWN}"
    if finished.interrupted:
        return "was stopped as asked; its state is saved. Destroy it to remove what was made."
    if finished.timed_out:
        return "took too long and was stopped; its state is saved. Look at the network, and run it again."
    if finished.code < 0 and not disk_is_full:
        return f"was killed by signal {-finished.code}, for want of memory perhaps. {UNKNOWN}"
    return ""


def _explain_text(whole: str, first: str) -> str:
    """Return what Terraform's words mean, for the failures that its words do not explain to everybody."""
    low = whole.lower()
    if FULL in low:
        return f"failed because the disk is full. Free some space and run it again ({first})"
    if "lock info:" in low:
        lock = dict(LOCK_FIELD.findall(whole))
        return (
            f"failed because its state is locked by {lock.get('Who', 'another Terraform')} since "
            f"{lock.get('Created', 'an unknown time')}. Wait until that one has ended; if it is dead, "
            f"run `terraform force-unlock {lock.get('ID', 'ID')}` there."
        )
    if any(sign in low for sign in CRASH):
        return f"failed because the provider crashed. Run it again ({first}). {UNKNOWN}"
    if "state" in low and any(sign in low for sign in UNREADABLE):
        return (
            f"failed because its state cannot be read ({first}). Put back terraform.tfstate.backup, or remove the "
            "resources by their tags."
        )
    return ""


def _nothing(finished: Finished) -> str:
    """Return what can be said when nothing was."""
    return f"exit status {finished.code}, and not a word why"
