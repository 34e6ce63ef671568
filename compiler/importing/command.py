"""A command template with four slots as a shell script with four arguments.

The original formatted file names into the text of a shell line, so that a name could be a command. Here each slot
becomes `"$1"` to `"$4"`: the shell sees the template that was reviewed, and names only as arguments. Where a second
shell would read the result once more, nothing is translated.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from compiler.importing.names import is_placeholder

SLOTS: Final = ("bucket", "dataset", "results", "config")
MAX_LENGTH: Final = 10_000
"""Characters of a template that is worth translating."""
_READS_AGAIN: Final = re.compile(
    r"\beval\b|\bssh\b|\bxargs\b|\b(ba|da|z|k|c|tc)?sh\s+(-\w+\s+)*-\w*c\b|\bsu\b.*\s-c\b|\blet\b|\(\(|`|<<"
)
"""What reads an argument as code once more; `<<` and `((` do without a word."""
_PATH: Final = re.compile(r"([\w./:=@%+ -]|\$\{[0-9]+\})*")
"""What may stand around a slot inside double quotes: more could be a program for someone."""


def translate_command(template: str, working_directory: str = "") -> tuple[str, str]:
    """Return the script for a template, and why there is none; one of the two is empty."""
    line, why = _translate(template)
    if why:
        return "", why
    script = [
        "#!/usr/bin/env bash",
        "# $1 a folder for the bucket; below it $2 the dataset, $3 the results, $4 the config.",
    ]
    if working_directory.startswith("/"):
        script.append(f"cd -- {shlex.quote(working_directory)}")
    return "\n".join([*script, line]) + "\n", ""


def _translate(template: str) -> tuple[str, str]:
    """Return the shell line for a template, and why there is none."""
    again = _READS_AGAIN.search(template[:MAX_LENGTH])
    found = _fill(template[:MAX_LENGTH])
    if not template.strip():
        why = "is missing, or no text"
    elif "{}" not in template and is_placeholder(template):
        why = "stands in place of a command"
    elif len(template) > MAX_LENGTH or "\0" in template:
        why = f"is longer than {MAX_LENGTH} characters, or holds a NUL"
    elif again is not None:
        why = f"lets something read the names of files as code ({again.group().strip()!r})"
    elif found is None:
        why = "has a slot, or an end, in the middle of quotes"
    elif found[1] != len(SLOTS):
        why = f"has {found[1]} slots, not four"
    else:
        return found[0], ""
    return "", why


def _fill(template: str) -> tuple[str, int] | None:
    """Return the template with its slots as quoted arguments, and how many there were; None when quotes forbid it.

    `{{` and `}}` are what the original's formatting made of them: single braces.
    """
    parts: list[str] = []
    quote, opened, escaped, count, at = "", 0, False, 0, 0
    while at < len(template):
        char, two = template[at], template[at : at + 2]
        at += 2 if two in {"{{", "}}", "{}"} else 1
        if two == "{}":
            count += 1
            if escaped or (quote == "'" and not (parts[-1] == "'" and template[at : at + 1] == "'")):
                return None
            if quote == "'":  # a slot with quotes of its own
                parts[-1], quote, at = f'"${{{count}}}"', "", at + 1
            else:
                parts.append(f"${{{count}}}" if quote else f'"${{{count}}}"')
            continue
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif char == quote:
            inside = "".join(parts[opened:])
            if "${" in inside and char == '"' and not _PATH.fullmatch(inside):
                return None
            quote = ""
        elif char in "'\"" and not quote:
            quote, opened = char, len(parts) + 1
        parts.append(char)
    return None if quote or escaped else ("".join(parts), count)
