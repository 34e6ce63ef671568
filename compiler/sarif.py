"""Findings as SARIF 2.1.0, the form that code-scanning pages and editors read."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from compiler.findings import Findings
from compiler.rules import RULES
from state.errors import Place, SourceError

VERSION: Final = "2.1.0"
SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Findings, *, version: str) -> dict[str, Any]:
    """Return one run of the tool as a SARIF log; `version` is Mayfly's own."""
    found = [*(("error", e) for e in findings.errors), *(("warning", w) for w in findings.warnings)]
    used = sorted({finding.rule for _, finding in found})
    rules = [{"id": rule, "shortDescription": {"text": RULES.get(rule, RULES["source"])}} for rule in used]
    driver = {"name": "mayfly", "semanticVersion": version, "rules": rules}
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"PROJECT": {"description": {"text": "The folder that holds mayfly.yaml."}}},
                "results": [_result(level, finding, used.index(finding.rule)) for level, finding in found],
            }
        ],
    }


def _result(level: str, finding: SourceError, rule: int) -> dict[str, Any]:
    where = f"{finding.field}: " if finding.field else ""
    text = f"{where}{finding.message} {finding.way_out}".rstrip()
    logical = [{"fullyQualifiedName": finding.field}] if finding.field else []
    location = {"physicalLocation": _location(finding.place), **({"logicalLocations": logical} if logical else {})}
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level,
        "message": {"text": text},
        "locations": [location],
    }


def _location(place: Place) -> dict[str, Any]:
    """Return a place; a finding about a whole file has no region."""
    region = {name: n for name, n in (("startLine", place.line), ("startColumn", place.column)) if n}
    artifact = {"uri": quote(place.file), "uriBaseId": "PROJECT"}
    return {"artifactLocation": artifact, **({"region": region} if region else {})}
