"""The embedded cloud's process: three doors, one event loop.

- `endpoint`, TCP on loopback: everything but EC2, for people, Terraform and the runner
- `ec2_endpoint`, TCP on loopback: EC2, for Terraform and the runner
- a unix socket: S3 and STS only, for instances; the one way out of a sandbox
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from ministack.core.hypercorn_compat import install as mend_reason_phrases

from mayfly.localcloud import ec2_mends, emulator, objects
from mayfly.localcloud.configuration import OFFER
from mayfly.localcloud.ec2_gate import Ec2Gate
from mayfly.localcloud.gate import Gate
from mayfly.localcloud.home import LOOPBACK, Home, bind_unix, write_json
from mayfly.localcloud.host import InstanceHost
from mayfly.localcloud.http import Application, Receive, Scope, Send
from mayfly.localcloud.journal import Journal
from mayfly.localcloud.limits import find_control_groups
from mayfly.localcloud.machines import Machines
from mayfly.localcloud.sandbox import try_sandboxes

log = logging.getLogger("mayfly.localcloud")
FOR_INSTANCES = ("s3", "sts")
_GRACE = 1.0
"""Seconds that open requests get at the end: a long poll would otherwise hold the end up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The listening sockets.

    Attributes:
        main: everything but EC2.
        ec2: EC2.
    """

    main: socket.socket
    ec2: socket.socket

    @property
    def port(self) -> int:
        """The port of everything but EC2."""
        return int(self.main.getsockname()[1])

    @property
    def ec2_port(self) -> int:
        """The port of EC2."""
        return int(self.ec2.getsockname()[1])


class Dispatcher:
    """Sends a request to the gate of the door that it came through."""

    def __init__(self, *, doors: Doors, main: Application, ec2: Application, instances: Application) -> None:
        """Keep who answers at which door; what comes through no port comes from an instance."""
        self._by_port = {doors.port: main, doors.ec2_port: ec2}
        self._instances = instances

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the server's start and end need nothing of us."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
        elif scope["type"] == "http":
            server = scope.get("server")
            await (self._by_port[server[1]] if server else self._instances)(scope, receive, send)


async def run(home: Home, *, doors: Doors, images: Path, account: str, region: str, lifeline: bool) -> None:
    """Serve until SIGTERM, SIGINT, or (with a lifeline) the end of standard input.

    Args:
        home: the cloud's folder, locked by the caller.
        doors: listening sockets.
        images: the store of environments.
        account: 12 digits.
        region: AWS region.
        lifeline: whether whoever started this holds the other end of standard input: it closes when they die.
    """
    stop = _stop_event(lifeline=lifeline)
    mend_reason_phrases()
    emulator.mend()
    machines = Machines(home.machines_file, account=account, region=region)
    journal = Journal(home.state, emulator.states())
    loop = asyncio.get_running_loop()
    # What an event put into a queue is written down too; the events come from threads of the emulator.
    objects.mend(lambda: _call_soon(loop, lambda: journal.save_soon("sqs")))
    door = home.root / "instances.sock"
    unix = bind_unix(door)
    found = await try_sandboxes(home.instances / "probe", endpoint=door)
    groups = find_control_groups()
    host = InstanceHost(
        machines,
        home=home,
        images=images,
        kind=found.kind,
        port=doors.port,
        endpoint=door,
        groups=groups,
        account=account,
        region=region,
    )
    ec2_mends.mend(
        find_profile=lambda name, arn: emulator.instance_profile(account, name=name, arn=arn), console=host.console
    )
    await machines.load(datetime.now(UTC))
    dispatcher = Dispatcher(
        doors=doors,
        main=Gate(emulator.application, journal, disk=home.root, services=OFFER),
        ec2=Ec2Gate(machines, region=region, disk=home.root, settle=host.settle),
        instances=Gate(emulator.application, journal, disk=home.root, services=FOR_INSTANCES),
    )
    facts = {"region": region, "account": account, "sandbox": found.kind.value, "sandbox_problems": found.problems}
    async with emulator.running():
        key = await emulator.administrator(home, account)
        await journal.save("iam")
        serving = asyncio.create_task(_serve(dispatcher, [doors.main, doors.ec2, unix], stop))
        _announce(home, doors, {**facts, "access_key": key.access_key, "secret_key": key.secret_key})
        await serving
        home.cloud_file.unlink(missing_ok=True)
        await host.close()
        await machines.stop(datetime.now(UTC))
        await journal.save_all()


async def _serve(dispatcher: Dispatcher, listeners: list[socket.socket], stop: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{listener.fileno()}" for listener in listeners]
    config.keep_alive_timeout = 75
    config.graceful_timeout = _GRACE
    config.loglevel = "WARNING"
    config.include_server_header = False
    await serve(cast("ASGIFramework", dispatcher), config, shutdown_trigger=stop.wait)


def _announce(home: Home, doors: Doors, facts: dict[str, object]) -> None:
    """Say where the cloud is: its doors are open by now, and what knocks waits until it is served."""
    places = {
        "endpoint": f"http://{LOOPBACK}:{doors.port}",
        "ec2_endpoint": f"http://{LOOPBACK}:{doors.ec2_port}",
        "pid": os.getpid(),
    }
    write_json(home.ports_file, {"port": doors.port, "ec2_port": doors.ec2_port})
    write_json(home.cloud_file, {**facts, **places})


def _call_soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Do something in the event loop, unless it has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act)


def _stop_event(*, lifeline: bool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline:

        def read() -> None:
            if not os.read(sys.stdin.fileno(), 1024):
                loop.remove_reader(sys.stdin)
                stop.set()

        loop.add_reader(sys.stdin, read)
    return stop
