"""`mayfly doctor`: what this machine has, what it lacks, and how to mend that."""

from __future__ import annotations

import os
import platform as machine
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click
import psutil

from mayfly.cli.context import Context
from mayfly.cli.output import say, show_json, size
from mayfly.cli.platform import as_json
from mayfly.localcloud import find_sandbox
from runner.agent_libraries import OLD_LIBRARIES
from runner.mirror import REGISTRIES
from runner.prepared import WAY_OUT as PROVIDER_WAY_OUT
from runner.prepared import check_reach, find_prepared
from runner.toolchain import Toolchain, find_toolchain
from state.errors import EnvironmentMissingError, MayflyError

DISK_NEEDED = 2 * 10**9
"""Bytes: a Terraform provider unpacked is 700 MB, an environment a few hundred, and data comes on top."""
MEMORY_NEEDED = 10**9
"""Bytes: two Terraforms and the platform itself."""


class Verdict(StrEnum):
    """How a check went. With a warning Mayfly works, with less."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at.
        verdict: how it went.
        found: what is there.
        way_out: how to mend it; empty when there is nothing to mend.
    """

    name: str
    verdict: Verdict
    found: str
    way_out: str = ""


@click.command()
@as_json
@click.pass_obj
def doctor(context: Context, as_json: bool) -> int:
    """Look at this machine: Terraform, its AWS provider, the sandbox, ports, disk, memory, and the project.

    Exits with 9 when something is missing without which nothing runs.
    """
    findings = [check() for check in checks(context, os.environ)]
    if as_json:
        show_json(findings)
    else:
        styles = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.MISSING: "red"}
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            say(f"{finding.verdict:8} {finding.name.ljust(width)}  {finding.found}", style=styles[finding.verdict])
            if finding.way_out:
                say(f"{'':8} {'':{width}}  → {finding.way_out}")
    missing = any(finding.verdict is Verdict.MISSING for finding in findings)
    return EnvironmentMissingError.exit_code if missing else 0


def checks(context: Context, env: Mapping[str, str]) -> list[Callable[[], Finding]]:
    """Return the checks, in the order in which they are told."""
    return [
        check_python,
        check_agent,
        lambda: check_terraform(context, env),
        lambda: check_provider(context, env),
        check_sandbox,
        check_port,
        lambda: check_disk(context),
        check_memory,
        lambda: check_home(context),
        lambda: check_project(context),
    ]


def check_python() -> Finding:
    """Which Python runs this; every supported one is fine, for it could not be started otherwise."""
    return Finding(name="Python", verdict=Verdict.OK, found=f"{machine.python_version()} ({sys.executable})")


def check_agent(old: Path = OLD_LIBRARIES) -> Finding:
    """Which Pythons an instance may have: the agent carries the libraries for it."""
    if old.is_dir():
        return Finding(name="agent", verdict=Verdict.OK, found="runs on instances with Python 3.8 or newer")
    return Finding(
        name="agent",
        verdict=Verdict.WARNING,
        found="runs on instances with Python 3.10 or newer only",
        way_out="For images with Python 3.8 or 3.9: `make setup-old`, then start the workers again.",
    )


def check_terraform(context: Context, env: Mapping[str, str]) -> Finding:
    """Whether there is a Terraform that is new enough."""
    try:
        toolchain = find_toolchain(context.terraform_cache, env)
    except MayflyError as error:
        return Finding(name="Terraform", verdict=Verdict.MISSING, found="none that can be used", way_out=str(error))
    found = f"{toolchain.product} {toolchain.version} ({toolchain.binary})"
    return Finding(name="Terraform", verdict=Verdict.OK, found=found)


def check_provider(context: Context, env: Mapping[str, str]) -> Finding:
    """Whether there is an AWS provider for Terraform, once there is a Terraform."""
    try:
        return judge_provider(find_toolchain(context.terraform_cache, env))
    except MayflyError:
        return Finding(
            name="AWS provider", verdict=Verdict.WARNING, found="not looked for", way_out="Get a Terraform first."
        )


def judge_provider(toolchain: Toolchain, reach: Callable[[str], str] = check_reach) -> Finding:
    """Whether the AWS provider is on this machine, or the registry that has it can be reached."""
    verdict, way_out, host = Verdict.OK, "", REGISTRIES[toolchain.product]
    if toolchain.mirror is not None:
        found = f"{toolchain.provider} in {toolchain.mirror}"
    elif find_prepared(toolchain) is not None:
        found = f"fetched from {host} before"
    elif why := reach(host):
        found, verdict = f"none on this machine, and {host} cannot be reached ({why})", Verdict.MISSING
        way_out = PROVIDER_WAY_OUT
    else:
        found = f"comes from {host}"
    return Finding(name="AWS provider", verdict=verdict, found=found, way_out=way_out)


def check_sandbox() -> Finding:
    """What keeps an instance of the embedded cloud apart from this machine; one is really started."""
    if not sys.platform.startswith("linux"):
        return Finding(
            name="sandbox", verdict=Verdict.MISSING, found="none: it needs Linux", way_out="Run Mayfly in a Linux VM."
        )
    probe = find_sandbox()
    problems = "; ".join(f"{name}: {problem}" for name, problem in probe.problems.items())
    if probe.kind == "none":
        return Finding(
            name="sandbox",
            verdict=Verdict.MISSING,
            found=f"none works ({problems})",
            way_out="Install bubblewrap (Debian, Ubuntu: apt install bubblewrap; where AppArmor blocks it, allow "
            "`userns` for /usr/bin/bwrap). Or, for analyses that you trust, set MAYFLY_UNSAFE_NO_SANDBOX=1.",
        )
    return Finding(name="sandbox", verdict=Verdict.OK, found=f"{probe.kind}" + (f" ({problems})" if problems else ""))


def check_port() -> Finding:
    """Whether a port on loopback can be had."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError as error:
        return Finding(
            name="ports",
            verdict=Verdict.MISSING,
            found=f"127.0.0.1 cannot be listened on ({error.strerror})",
            way_out="Allow connections on the loopback interface.",
        )
    return Finding(name="ports", verdict=Verdict.OK, found="free ones on 127.0.0.1")


def check_disk(context: Context, needed: int = DISK_NEEDED) -> Finding:
    """Whether there is room for images, providers and data."""
    folder = context.home.folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding(
            name="disk",
            verdict=Verdict.MISSING,
            found=f"{folder} cannot be written to",
            way_out="Name another folder with --home, or have this one's permissions changed.",
        )
    enough = free >= needed
    return Finding(
        name="disk",
        verdict=Verdict.OK if enough else Verdict.WARNING,
        found=f"{size(free)} free at {folder}",
        way_out="" if enough else f"Have {size(needed)} free. `make clean` removes what runs have made.",
    )


def check_memory() -> Finding:
    """Whether there is memory for Terraform beside the jobs."""
    free = psutil.virtual_memory().available
    enough = free >= MEMORY_NEEDED
    return Finding(
        name="memory",
        verdict=Verdict.OK if enough else Verdict.WARNING,
        found=f"{size(free)} available, {os.cpu_count()} cores",
        way_out="" if enough else f"Have {size(MEMORY_NEEDED)} available; each Terraform takes about 400 MB.",
    )


def check_home(context: Context) -> Finding:
    """Whether a platform runs here already."""
    running = context.home.is_locked()
    return Finding(
        name="home",
        verdict=Verdict.OK,
        found=f"{context.home.folder}: " + ("a platform is running" if running else "nothing is running"),
    )


def check_project(context: Context) -> Finding:
    """Whether the YAML files of the project are right."""
    try:
        platform = context.platform()
    except MayflyError as error:
        first = str(error).splitlines()[0]
        return Finding(name="project", verdict=Verdict.MISSING, found=first, way_out="`mayfly check` shows all of it.")
    return Finding(name="project", verdict=Verdict.OK, found=f"{platform.deployment.name} ({Path(context.project)})")
