"""What checking is given and what it finds."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.model import Platform
from compiler.source import Document, FieldPath
from state.errors import Place, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What checking found; `errors` stop everything, `warnings` are told."""

    errors: tuple[SourceError, ...] = ()
    warnings: tuple[SourceError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What could be read of a project.

    Attributes:
        platform: the values of all files that are right in themselves.
        documents: their documents, by the file name that `place` of a value holds.
        analyses: ids of all blueprints, also of those with errors, so that one mistake is told once.
        groups: ids of all groups, likewise.
    """

    platform: Platform
    documents: dict[str, Document]
    analyses: frozenset[str]
    groups: frozenset[str]

    def error(
        self, place: Place, message: str, path: FieldPath = (), *, rule: str, way_out: str, key: bool = False
    ) -> SourceError:
        """Return an error about a field of the file that a value came from."""
        return self.documents[place.file].error(message, path, way_out=way_out, key=key, rule=rule)
