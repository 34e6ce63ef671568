"""What an import has to say about a template: one finding per field, in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: `error` was not imported, `warning` needs a decision of a person, `note` is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about one field of one template.

    Attributes:
        file: the template, as the person named it.
        field: its path in the JSON, `UXData.Affiliates[0].ContactEmail`; empty for the whole file.
        severity: how bad it is.
        message: what was found and what became of it, a sentence.
        way_out: what to do about it, a sentence, or empty.
    """

    file: str
    field: str
    severity: Severity
    message: str
    way_out: str = ""

    def __str__(self) -> str:
        """Return it as one line."""
        where = f"{self.file}: {self.field}: " if self.field else f"{self.file}: "
        return where + self.message + (f" {self.way_out}" if self.way_out else "")


@dataclass(slots=True, kw_only=True)
class Notes:
    """Collects the findings about one template.

    Attributes:
        file: the template, as the person named it.
        findings: what was said so far.
    """

    file: str
    findings: list[Finding] = field(default_factory=list)

    def refuse(self, field: str, message: str, way_out: str = "") -> None:
        """Say that something was not imported."""
        self._add(Severity.ERROR, field, message, way_out)

    def warn(self, field: str, message: str, way_out: str = "") -> None:
        """Say that a person must decide."""
        self._add(Severity.WARNING, field, message, way_out)

    def mention(self, field: str, message: str, way_out: str = "") -> None:
        """Say what is good to know."""
        self._add(Severity.NOTE, field, message, way_out)

    def _add(self, severity: Severity, field: str, message: str, way_out: str) -> None:
        self.findings.append(Finding(file=self.file, field=field, severity=severity, message=message, way_out=way_out))
