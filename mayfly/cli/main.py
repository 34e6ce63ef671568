"""Where `mayfly` starts: nothing that takes time is imported before Ctrl-C is minded."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended."""


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line. Return its exit code; every error is a sentence on standard error."""
    try:
        # The commands need half a second to be imported, most of it the libraries of AWS and of the database.
        from mayfly.cli.commands import carry_out  # noqa: PLC0415

        return carry_out(arguments)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)  # noqa: T201  (all that prints for us may not be imported yet)
        return INTERRUPTED


def main() -> None:
    """Start `mayfly` from a shell."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every character
    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is done; what is left are milliseconds
    sys.exit(code)


if __name__ == "__main__":
    main()
