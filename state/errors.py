"""Every error Mayfly raises on purpose, in one tree.

The command line prints `str(error)` as one sentence and exits with `exit_code`; a traceback means a bug. So a
message names the place, says what is wrong, and says the way out.
"""

from __future__ import annotations

from collections.abc import Sequence

from state.values import dataclass


class MayflyError(Exception):
    """Something a person can act on."""

    exit_code = 1


class UsageError(MayflyError):
    """The command cannot be carried out as it was asked for."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """A position in a file that a person wrote. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return `file:line:column`, the form that editors and terminals make clickable."""
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


class SourceError(MayflyError):
    """A blueprint, profile or deployment file is wrong.

    Attributes:
        place: where.
        field: the path of the field, dotted (`limits.duration`), empty for the whole file.
        way_out: what to do about it, a sentence, or empty.
        rule: id of the rule that is broken, as `compiler.rules` lists them.
    """

    exit_code = 3

    def __init__(self, message: str, *, place: Place, field: str = "", way_out: str = "", rule: str = "source") -> None:
        """Keep the parts, so that `--json` and SARIF can show them apart."""
        self.message, self.place, self.field, self.way_out, self.rule = message, place, field, way_out, rule
        where = f"{place}: {field}: " if field else f"{place}: "
        super().__init__(where + message + (f" {way_out}" if way_out else ""))


class SourcesError(MayflyError):
    """All that is wrong with a set of source files, sorted by place."""

    exit_code = 3

    def __init__(self, errors: Sequence[SourceError]) -> None:
        """Sort, so that the same files always give the same text."""
        self.errors = tuple(sorted(errors, key=lambda e: (e.place, e.field, e.message)))
        super().__init__("\n".join(map(str, self.errors)))


class SubmissionError(MayflyError):
    """A submission is refused before anything is spent. `reason` is written for the person who submitted."""

    exit_code = 4

    def __init__(self, reason: str) -> None:
        """Keep the reason for the certificate."""
        self.reason = reason
        super().__init__(reason)


class AccessError(SubmissionError):
    """The group may not use the analysis, or the key lies outside the group's own prefix."""


class BudgetError(SubmissionError):
    """The group's budget does not cover the most this job could cost."""


class TerraformError(MayflyError):
    """Terraform ended with an error, or could not be started.

    Attributes:
        command: the sub-command, for example `apply`.
        diagnostics: Terraform's own error summaries with details, in its order.
        log: path of the full log, or empty.
    """

    exit_code = 5

    def __init__(self, message: str, *, command: str = "", diagnostics: Sequence[str] = (), log: str = "") -> None:
        """Keep the diagnostics apart: capacity errors are recognised in them."""
        self.command, self.diagnostics, self.log = command, tuple(diagnostics), log
        super().__init__(message + (f" (log: {log})" if log else ""))


class CloudError(MayflyError):
    """A call to AWS (or its emulator) failed.

    Attributes:
        service: `s3`, `sqs`, `ec2`, `sts` …
        code: AWS's error code, for example `AccessDenied`; `Unreachable` when nothing answered.
        retryable: whether the same call may succeed later.
    """

    exit_code = 6

    def __init__(self, message: str, *, service: str, code: str, retryable: bool = False) -> None:
        """Keep what callers decide by."""
        self.service, self.code, self.retryable = service, code, retryable
        super().__init__(message)


class JobError(MayflyError):
    """A job cannot go on. The message becomes the reason in its certificate."""

    exit_code = 7


class StateError(MayflyError):
    """The ledger or a workspace is missing, locked, or from a newer Mayfly."""

    exit_code = 8


class EnvironmentMissingError(MayflyError):
    """This machine lacks something Mayfly needs (Terraform, a provider, a sandbox, disk space, a free port)."""

    exit_code = 9
