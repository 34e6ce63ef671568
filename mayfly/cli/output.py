"""What the commands print: tables and steps for people, JSON for programs, and never a control character of a user's.

A terminal gets colours and boxes; a file or a pipe gets plain columns that no width cuts short. Progress and notes
go to standard error, so that standard output is only what was asked for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

BAR_WIDTH = 32


def console(file: TextIO | None = None) -> Console:
    """Return a console for a stream; rich itself minds NO_COLOR, TERM=dumb and pipes.

    Markup and highlighting are off: nothing that a person or a YAML file says is read as a command to the terminal.
    """
    return Console(file=file or sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say(text: str, *, style: str | None = None) -> None:
    """Print a line of what was asked for."""
    console().print(printable(text), style=style)


def note(text: str, *, style: str | None = None) -> None:
    """Print a line about the work itself, on standard error."""
    console(sys.stderr).print(printable(text), style=style)


def printable(text: str) -> str:
    """Return text without control characters: a log line must not move the cursor or rename the window."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def show_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, default=plain, indent=2, ensure_ascii=False) + "\n")


def show_json_line(value: object) -> None:
    """Print one JSON document on one line, at once: for commands that follow."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> Any:  # noqa: ANN401
    """Turn a value of ours into what JSON knows: times in ISO 8601, money as text, because floats lose cents.

    Raises:
        TypeError: JSON has no place for it.
    """
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` when there is nothing to show."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    out = console()
    if not cells:
        note(empty)
    elif out.is_terminal:
        table = Table(*columns, header_style="bold")
        for row in cells:
            table.add_row(*row)
        Console(markup=False, highlight=False, emoji=False).print(table)
    else:
        for line in align([list(columns), *cells]):
            say(line)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with columns two blanks apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def show_facts(facts: Mapping[str, object]) -> None:
    """Print name and value pairs, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name.ljust(width)}  {value}")


def bars(values: Mapping[str, float]) -> list[str]:
    """Return a text bar chart of shares between 0 and 1."""
    block = "█" if can_encode("█") else "#"
    width = max((len(name) for name in values), default=0)
    return [
        f"{name.rjust(width)}  {(block * round(share * BAR_WIDTH)).ljust(BAR_WIDTH)}  {share:6.1%}"
        for name, share in values.items()
    ]


def can_encode(text: str) -> bool:
    """Whether standard output can show a character: a terminal in the C locale cannot show most."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def duration(seconds: float) -> str:
    """Return a time span as people say it: `8.4 s`, `2 min 05 s`, `1 h 03 min`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int) -> str:
    """Return bytes as people say it, in powers of ten as disks are sold."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shorten(path: Path) -> str:
    """Return a path as seen from here, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
