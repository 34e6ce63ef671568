"""Makes processes agree with EC2's control plane: what should run runs, what was terminated is dead.

`settle` compares the two; it is called after every call that may have changed something, before its answer leaves,
so that nothing is polled: an instance starts within milliseconds of RunInstances and is dead when TerminateInstances
has answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from mayfly.localcloud import emulator
from mayfly.localcloud.console import Console
from mayfly.localcloud.guest.init import HALTED
from mayfly.localcloud.home import Home
from mayfly.localcloud.limits import ControlGroups, limits_of, machine, remove_groups
from mayfly.localcloud.machines import Machine, Machines
from mayfly.localcloud.metadata import MetadataService
from mayfly.localcloud.together import Together
from mayfly.localcloud.world import GUEST, UNSAFE, WAY_OUT, Guest, Kind, base_python, command, environment, furnish
from runner.bundled import is_bundled

log = logging.getLogger("mayfly.localcloud")
LEAST_LIFE = 15.0
"""Seconds an instance exists at least. Terraform's AWS provider first looks at a new instance after 10 s, and fails
when it has ended by itself before that."""
INTERRUPT_TAG = "localcloud:interrupt"
"""Tag by which a test takes a spot instance back; its value is the notice in seconds, 120 on AWS."""
_DEATH = 5.0
"""Seconds to wait for a killed process; the kernel takes milliseconds unless the machine is overloaded."""


@dataclass(slots=True, kw_only=True)
class Running:
    """One instance that has a process, or is getting one."""

    machine: Machine
    console: Console
    metadata: MetadataService
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False
    interruption: asyncio.Task[None] | None = None


class InstanceHost:
    """Runs instances on this machine.

    Attributes:
        kind: the sandbox it uses.
    """

    def __init__(
        self,
        machines: Machines,
        *,
        home: Home,
        images: Path,
        kind: Kind,
        port: int,
        endpoint: Path,
        groups: ControlGroups,
        account: str,
        region: str,
    ) -> None:
        """Run nothing yet; `endpoint` is the unix socket at which instances reach AWS as `127.0.0.1:port`."""
        self.kind = kind
        self._machines, self._home, self._images = machines, home, images
        self._port, self._endpoint, self._groups = port, endpoint, groups
        self._account, self._region = account, region
        self._running: dict[str, Running] = {}
        self._unwanted: list[str] = []
        self._started: set[str] = set()
        self._cpus, self._memory = machine()
        self._turn = 0
        # One at a time: comparing with what was known before a launch would kill what was launched.
        self._compare = Together(self._start_and_mark)
        # Named after this home, so that clearing up after a killed cloud takes no group from under another one.
        self._house = f"mayfly-{hashlib.sha256(str(home.root).encode()).hexdigest()[:8]}"
        groups.sweep(self._house)
        self._closing = False

    async def settle(self) -> None:
        """Start what should run and kill what should not; return when the killed are dead."""
        await self._compare()
        await asyncio.gather(*(self._kill(self._running[name]) for name in self._unwanted if name in self._running))

    async def _start_and_mark(self) -> None:
        """Start what should run, and mark what should not."""
        found = {known.id: known for known in await self._machines.all()}
        for wanted in found.values():
            running = self._running.get(wanted.id)
            if running is not None:
                running.machine = running.metadata.machine = wanted
                self._interrupt_if_asked(running)
            elif wanted.is_running and wanted.user_data and wanted.id not in self._started and not self._closing:
                self._launch(wanted)
        self._unwanted = [name for name in self._running if name not in found or not found[name].is_running]

    def console(self, instance: str) -> bytes:
        """Return what an instance printed last."""
        running = self._running.get(instance)
        if running is not None:
            return running.console.text
        with suppress(OSError):
            return (self._home.consoles / f"{instance}.log").read_bytes()
        return b""

    async def close(self) -> None:
        """Kill everything: the cloud is about to end, and nothing outlives it."""
        self._closing = True
        await asyncio.gather(*(self._kill(running) for running in list(self._running.values())))
        self._groups.sweep(self._house)

    def _launch(self, found: Machine) -> None:
        console = Console(self._home.consoles / f"{found.id}.log")

        async def role_key() -> tuple[str, emulator.Key] | None:
            profile = emulator.instance_profile(self._account, arn=found.profile)
            if profile is None:
                return None
            return await emulator.instance_role_key(
                account=self._account,
                profile=profile["InstanceProfileName"],
                instance=found.id,
                now=datetime.now(UTC),
            )

        metadata = MetadataService(found, region=self._region, role_key=role_key)
        running = Running(machine=found, console=console, metadata=metadata)
        self._running[found.id] = running
        self._started.add(found.id)
        running.task = asyncio.create_task(self._run(running))

    async def _run(self, running: Running) -> None:
        """Carry an instance from its launch to its end."""
        try:
            problem = await self._live(running)
        except OSError as error:
            problem = f"Server.InternalError: the instance could not be started: {error}"
        except Exception:
            log.exception("%s: the instance host failed", running.machine.id)
            problem = "Server.InternalError: the instance host failed; the embedded cloud's log says why"
        finally:
            running.metadata.stop()
            running.ended.set()
        if problem:
            log.warning("%s: %s", running.machine.id, problem)
            running.console.add(f"[instance] {problem}\n".encode())
            running.console.write()
        await asyncio.to_thread(shutil.rmtree, self._home.instances / running.machine.id, ignore_errors=True)
        if not running.killed:
            await self._report(running.machine, problem)
        self._running.pop(running.machine.id, None)

    async def _live(self, running: Running) -> str:
        """Run an instance's process to its end; return what went wrong, empty when it shut itself down."""
        began = time.monotonic()
        found = running.machine
        image = self._images / found.iae if found.iae else None
        if image is not None and not (image / "manifest.json").is_file():
            return f"Server.InternalError: the environment {found.iae} of image {found.image} is not in {self._images}"
        kind = self._kind_for(found.iae)
        if kind is None:
            return f"Server.InternalError: no sandbox works on this machine. {WAY_OUT}"
        guest = Guest(
            folder=self._home.instances / found.id,
            hostname="ip-" + found.address.replace(".", "-"),
            port=self._port,
            endpoint=self._endpoint,
            image=image.resolve() if image else None,
            python=base_python(image),
            network=kind is not Kind.NONE,
        )
        await asyncio.to_thread(furnish, guest, found.user_data)
        port = await running.metadata.start(guest.metadata_socket if guest.network else None)
        extra = {} if guest.network else {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"}
        if image is not None and not guest.network:
            extra["MAYFLY_IMAGE_ROOT"] = str(image.resolve())
        limits = limits_of(found.type, cpus=self._cpus, memory=self._memory, turn=self._turn)
        self._turn += 1
        groups = self._groups.make(self._house, found.id, limits)
        plan = {
            "parent": os.getpid(),
            "cpus": limits.cpus,
            "groups": [str(group / "cgroup.procs") for group in groups],
            "data_bytes": 0 if groups and self._groups.limits_memory else limits.memory,
            "command": command(kind, guest),
            "environment": environment(guest, region=self._region, extra=extra),
        }
        if running.killed:
            return ""
        # Started from this thread, which lives as long as the server: the kernel ties the death of a child to the
        # end of the thread that made it.
        running.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(GUEST / "launch.py"),
            json.dumps(plan),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
            start_new_session=True,
        )
        self._end_if_killed(running)
        log.info("%s: %s in %s after %.3f s", found.id, found.type, kind, time.monotonic() - began)
        assert process.stdout is not None  # noqa: S101 - asked for above
        following = asyncio.create_task(running.console.follow(process.stdout))
        status = await process.wait()
        # Without a sandbox something may live on and hold the console open; with one this is over at once.
        await asyncio.wait([following], timeout=1.0)
        following.cancel()
        await _until(lambda: remove_groups(groups))
        if status == HALTED or running.killed:
            return ""
        return f"Server.InternalError: the instance ended with status {status}; its console may say why"

    def _kind_for(self, iae: str) -> Kind | None:
        """Return how an instance of an environment is kept apart; None when it may not run."""
        if self.kind is not Kind.NONE or is_bundled(iae) or os.environ.get(UNSAFE) == "1":
            return self.kind
        return None

    async def _report(self, found: Machine, problem: str) -> None:
        """Tell the control plane that an instance ended by itself."""
        if not problem:
            alive = (datetime.now(UTC) - found.launched).total_seconds()
            await asyncio.sleep(max(0.0, LEAST_LIFE - alive))
        code = problem.partition(":")[0] if problem else "Client.InstanceInitiatedShutdown"
        message = problem or f"{code}: Instance initiated shutdown"
        stop = not problem and found.on_shutdown == "stop"
        now = datetime.now(UTC)
        await self._machines.end(found.id, now=now, code=code, message=message, stop=stop)
        with suppress(OSError):
            await self._machines.save(now)

    def _interrupt_if_asked(self, running: Running) -> None:
        """Give notice to a spot instance that is to be taken back, and take it when the notice is over."""
        seconds = running.machine.tags.get(INTERRUPT_TAG, "")
        if running.interruption is None and running.machine.life_cycle == "spot" and seconds.isdecimal():
            running.metadata.goes_at = datetime.now(UTC) + timedelta(seconds=int(seconds))
            running.interruption = asyncio.create_task(self._take_back(running, float(seconds)))

    async def _take_back(self, running: Running, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await running.ended.wait()
                return
        await self._kill(running)
        code = "Server.SpotInstanceTermination"
        now = datetime.now(UTC)
        await self._machines.end(running.machine.id, now=now, code=code, message=f"{code}: Spot instance termination")
        with suppress(OSError):
            await self._machines.save(now)

    async def _kill(self, running: Running) -> None:
        running.killed = True
        self._signal(running)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DEATH):
                await running.ended.wait()

    def _end_if_killed(self, running: Running) -> None:
        """Kill what was terminated while it was being started."""
        if running.killed:
            self._signal(running)

    def _signal(self, running: Running) -> None:
        """Kill the outermost process; the kernel takes everything inside with it."""
        process = running.process
        if process is not None and process.returncode is None:
            if self.kind is Kind.NONE:
                with suppress(psutil.NoSuchProcess):
                    for inside in psutil.Process(process.pid).children(recursive=True):
                        inside.kill()
            with suppress(ProcessLookupError):
                process.kill()


async def _until(is_done: Callable[[], bool], tries: int = 50) -> None:
    """Wait until something is done, for a second: the kernel empties a control group a moment after its processes."""
    for _ in range(tries):
        if is_done():
            return
        await asyncio.sleep(0.02)
