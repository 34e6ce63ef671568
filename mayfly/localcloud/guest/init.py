"""The first process of an instance: brings up its network, runs its user data, and stays until it is shut down.

Run as `python -I -S init.py JSON`, inside the sandbox, as its process 1. It forwards two loopback addresses to unix
sockets of the server outside (instance metadata, and AWS's endpoint); there is no other way out. It ends with status
`HALTED` when the instance shut itself down.
"""

import ctypes
import fcntl
import gzip
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

HALTED = 80
METADATA_ADDRESS = "169.254.169.254"
_CHUNK = 1 << 18
_GRACE = 1.0
"""Seconds that processes get between being asked to end and being killed."""
_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER, _CAPABILITY_VERSION = 38, 36, 0x20080522
_SET_ADDRESS, _SET_FLAGS, _UP_RUNNING = 0x8916, 0x8914, 0x41


def main() -> None:
    """Become an instance."""
    plan = json.loads(sys.argv[1])
    if plan["mounts"]:
        sys.path.insert(0, str(Path(__file__).parent))
        importlib.import_module("mounts").build(plan["root"], plan["mounts"])
    if plan["network"]:
        if plan["hostname"]:
            socket.sethostname(plan["hostname"])
        _bring_up("lo", "127.0.0.1")
        _bring_up("lo:1", METADATA_ADDRESS)
        listeners = [
            (_listen(METADATA_ADDRESS, 80), f"{plan['run']}/metadata.sock"),
            (_listen("127.0.0.1", plan["port"]), f"{plan['run']}/aws.sock"),
        ]
        _give_up_privileges()
        for listener, path in listeners:
            threading.Thread(target=_forward, args=(listener, path), daemon=True).start()
    elif sys.platform == "linux":
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.exit(_live(Path(plan["run"]), Path(plan["user_data"])))


def _live(run: Path, user_data: Path) -> int:
    """Run the user data and wait for a shutdown; return the exit status."""
    power = run / "power"
    os.mkfifo(power, 0o600)
    orders = os.open(power, os.O_RDWR | os.O_NONBLOCK)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: os.write(orders, b"halt 0\n"))
    child = _start(user_data, run)
    deadline = None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([orders, woken], [], [], left)
        if woken in ready:
            os.read(woken, 4096)
        child = _reap(child)
        if orders in ready:
            deadline = _obey(os.read(orders, 4096).decode(), deadline)
        if deadline is not None and time.monotonic() >= deadline:
            _end_all()
            return HALTED


def _start(user_data: Path, run: Path) -> int:
    content = user_data.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if not content.startswith(b"#!"):
        _say("the user data is not a script (it does not start with #!) and was not run")
        return 0
    script = run / "user-data-script"
    script.write_bytes(content)
    script.chmod(0o700)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        defaults = [signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM]
        return os.posix_spawn(str(script), [str(script)], os.environ, setsid=True, setsigmask=[], setsigdef=defaults)
    except OSError as error:
        _say(f"the user data could not be run: {error.strerror}")
        return 0
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD, signal.SIGTERM])


def _reap(child: int) -> int:
    """Collect ended processes; say how the user data ended."""
    while True:
        try:
            found, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return child
        if found == 0:
            return child
        if found == child:
            _say(f"the user data ended with status {os.waitstatus_to_exitcode(status)}")
            child = 0


def _obey(orders: str, deadline: float | None) -> float | None:
    for order in orders.split("\n"):
        word, _, seconds = order.partition(" ")
        if word == "halt":
            deadline = time.monotonic() + float(seconds or 0)
        elif word == "cancel":
            deadline = None
    return deadline


def _end_all() -> None:
    """Ask everything to end, wait a moment, then let the end of process 1 end the rest."""
    _say("the instance is shutting down")
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in _others():
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            _reap(0)
            if not _others():
                return
            select.select([], [], [], 0.02)


def _others() -> list[int]:
    """Return the processes of this instance: all there are in a namespace of its own, else our descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    me = os.getpid()
    if me == 1:
        return [process for process in parents if process != 1]
    found = [me]
    for process in found:
        found.extend(child for child, parent in parents.items() if parent == process)
    return found[1:]


def _say(message: str) -> None:
    os.write(2, f"[instance] {message}\n".encode())


def _bring_up(name: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        wanted = struct.pack("16sH2s4s8s", name.encode(), socket.AF_INET, b"\0\0", socket.inet_aton(address), b"\0" * 8)
        fcntl.ioctl(control, _SET_ADDRESS, wanted)
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14s", name.encode(), _UP_RUNNING, b""))


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(128)
    return listener


def _give_up_privileges() -> None:
    """Drop every capability for good: being user 0 in here then means nothing to the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    if libc.capset(header, struct.pack("6I", *[0] * 6)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _forward(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(path)
        except OSError:
            client.close()
            continue
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: let the other one know.
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


if __name__ == "__main__":
    main()
