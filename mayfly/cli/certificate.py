"""`mayfly certificate`: is a certificate what the platform wrote?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from compiler.names import platform_bucket
from mayfly.cli.context import Context
from mayfly.cli.jobs import find_job
from mayfly.cli.output import say
from runner.signing import own_key, published_key
from state.errors import MayflyError, StateError, UsageError
from state.signature import key_named, verify

LARGEST = 256 * 1024 * 1024


@click.group()
def certificate() -> None:
    """Check the signed certificates of jobs."""


@certificate.command(name="verify")
@click.argument("subject", metavar="FILE|JOB")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="The public key, PEM, if you have it.")
@click.pass_obj
def verify_(context: Context, subject: str, key: Path | None) -> None:
    """Check that a certificate.json is, to the letter, what the platform signed. Exits with 8 when it is not.

    The public key is the one given, this home's own, or the one that the platform published.

    \b
    Examples:  mayfly certificate verify certificate.json
               mayfly certificate verify JOB
    """  # noqa: D301
    path = Path(subject)
    facts = read_facts(path.read_bytes(), subject) if path.is_file() else fetch_facts(context, subject)
    verify(facts, find_key(context, key_named(facts), key))
    ending = facts.get("ending") or {}
    say(f"Good: job {facts.get('job')} of {facts.get('group')}, {ending.get('status', 'not ended yet')}.")
    say(f"Signed with the key {key_named(facts)} on {facts.get('written')}; nothing was changed since.")


def fetch_facts(context: Context, job: str) -> dict[str, Any]:
    """Return the certificate of a job from its bucket."""
    record, cloud = find_job(context.ledger(), job), context.cloud(context.platform())
    keys = record.results
    return read_facts(cloud.read(keys.bucket, keys.certificate_json, limit=LARGEST), f"the certificate of {record.id}")


def read_facts(body: bytes, where: str) -> dict[str, Any]:
    """Return what a certificate states.

    Raises:
        StateError: it is no certificate.json.
    """
    try:
        facts = json.loads(body)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise StateError(f"{where} is no certificate.json: it must be a JSON object.")
    return facts


def find_key(context: Context, fingerprint: str, given: Path | None) -> bytes:
    """Return the public key of a fingerprint: given, this home's own, or published.

    Raises:
        UsageError: there is none.
    """
    if given is not None:
        return given.read_bytes()
    problem = "The platform has not published it"
    try:
        if (own := own_key(context.home.folder / "keys", fingerprint)) is not None:
            return own
        platform = context.platform()
        found = published_key(context.cloud(platform), platform_bucket(platform.deployment.name), fingerprint)
        if found is not None:
            return found
    except MayflyError as error:
        problem = str(error).rstrip(".")
    raise UsageError(f"The public key {fingerprint} is not at hand. {problem}. Name its file with --key.")
