"""The analysis version: a content hash over what decides how an analysis behaves.

That is the blueprint with its defaults filled in, the recipe, the module and the script that make its machines, the
agent that runs on them, and which Terraform and provider are allowed. What is for people only, who sees it, what it is
called and how long its data stays are left out: they change nothing that is computed.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from compiler import names
from compiler.blueprint import Blueprint
from compiler.hcl import REQUIRED_PROVIDER, REQUIRED_TERRAFORM
from compiler.model import Platform
from compiler.module import read_agent, read_module, read_provider_lock, shipped_agent
from compiler.recipe import recipe_files

DIGITS: Final = 16
"""Hex digits: 64 bits keep a million versions apart with a chance of 1 in 10 million."""
_FOR_PEOPLE: Final = frozenset(
    {"title", "description", "links", "contact", "citation", "stage", "access", "outputs", "place"}
)
_ADDRESSES: Final = frozenset({"id", "renamed_from", "bucket", "purge", "retention"})
"""What an analysis is called, where its data lies and for how long: a rename is no new version."""
_TEMPLATES: Final = ("bootstrap.sh", "head.tf.j2", "job.tf.j2")
"""What a job's workspace and its instances' first script are made of."""


def analysis_version(platform: Platform, analysis: str) -> str:
    """Return the version of an analysis, 16 hex digits, the same on every machine."""
    blueprint = platform.blueprints[analysis]
    folder = platform.project / Path(blueprint.place.file).parent
    parts: list[tuple[str, bytes]] = [
        ("blueprint", names.compact_json(_behaviour(blueprint)).encode()),
        *(
            (f"recipe/{p.relative_to(folder).as_posix()}", p.read_bytes())
            for p in recipe_files(folder, blueprint.environment)
        ),
        *((f"module/{name}", text.encode()) for name, text in read_module(platform.project, "job").items()),
        ("agent", read_agent(platform.agent or shipped_agent()).encode()),
        ("provider", names.compact_json([REQUIRED_TERRAFORM, REQUIRED_PROVIDER]).encode()),
        ("provider lock", read_provider_lock(platform.project).encode()),
        *_workspace_parts(),
    ]
    digest = hashlib.sha256()
    for label, content in parts:
        digest.update(f"{label}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:DIGITS]


@cache
def _workspace_parts() -> tuple[tuple[str, bytes], ...]:
    """Read once per process what is the same for all analyses."""
    folder = files("compiler").joinpath("templates")
    return tuple((f"workspace/{name}", folder.joinpath(name).read_bytes()) for name in _TEMPLATES)


def _behaviour(blueprint: Blueprint) -> dict[str, object]:
    """Return a blueprint as plain JSON, without what changes nothing that is computed."""
    return {
        field.name: _plain(getattr(blueprint, field.name))
        for field in fields(blueprint)
        if field.name not in _FOR_PEOPLE | _ADDRESSES
    }


def _plain(value: object) -> object:
    """Return a value as JSON knows it; a price is the same however many zeros it ends with."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value
