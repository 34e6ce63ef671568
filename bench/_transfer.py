"""One large object through the agent's own transfer and through the AWS CLI: how fast, and in how much memory.

The store is a server of this process's parent that makes bytes up and throws bytes away, so that neither a disk nor an
emulator is measured. The CLI comes from PyPI into a virtual environment of its own, because it pins its own botocore;
what it needs to start is taken off its time, for the agent is measured without its start, too.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from botocore.config import Config

from runner.iae.s3 import S3Store
from runner.iae.store import Copy

BLOCK = bytes(1 << 20)
CLI = Path(__file__).resolve().parent.parent / ".venv" / "awscli"
CLI_VERSION = "1.46.3"


class _Store(BaseHTTPRequestHandler):
    """Serves one object of zeros, whole or by ranges."""

    protocol_version = "HTTP/1.1"
    size = 0

    def do_HEAD(self) -> None:
        self._begin(200, self.size)

    def do_GET(self) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        last = int(found[2]) if found and found[2] else self.size - 1
        self._begin(206 if found else 200, last - first + 1, f"bytes {first}-{last}/{self.size}" if found else "")
        left = last - first + 1
        while left > 0:
            left -= self.wfile.write(BLOCK[: min(left, len(BLOCK))])

    def do_PUT(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, len(BLOCK))))
        self._begin(200, 0)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = "InitiateMultipartUploadResult" if self.path.endswith("?uploads") else "CompleteMultipartUploadResult"
        text = f"<{name}><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><ETag>e</ETag></{name}>".encode()
        self._begin(200, len(text))
        self.wfile.write(text)

    def _begin(self, status: int, length: int, content_range: str = "") -> None:
        self.send_response_only(status)
        self.send_header("ETag", '"zeros"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def serve(size: int, port: int) -> None:
    """Serve until killed."""
    _Store.size = size
    ThreadingHTTPServer(("127.0.0.1", port), _Store).serve_forever()


def move(way: str, port: int, path: Path) -> dict[str, float]:
    """Move the object in this process; return seconds, CPU seconds, and the memory it took, MB."""
    session = boto3.Session(aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")  # noqa: S106
    config = Config(proxies={}, s3={"addressing_style": "path"}, max_pool_connections=24)
    client = session.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=config)
    client.head_object(Bucket="b", Key="k")
    store, copies = S3Store(client), [Copy(key="k", path=path)]
    transfer = store.download if way == "down" else store.upload
    before, start, cpu = peak(), time.monotonic(), time.process_time()
    failed = transfer("b", copies, lambda: None, lambda _: None)
    assert failed == []
    return {"s": time.monotonic() - start, "cpu_s": time.process_time() - cpu, "MB": peak() - before}


def move_by_cli(program: Path, way: str, port: int, path: Path) -> dict[str, float]:
    """Move the object with `aws s3 cp`; return seconds without its start."""
    pair = ["s3://b/k", str(path)] if way == "down" else [str(path), "s3://b/k"]
    ends = ["--endpoint-url", f"http://127.0.0.1:{port}", "--only-show-errors"]
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    times = []
    for arguments in (["--version"], ["s3", "cp", *pair, *ends]):
        start = time.monotonic()
        subprocess.run([program, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - start)
    return {"s": times[1] - times[0]}


def install_cli() -> Path:
    """Return the AWS CLI, fetched from PyPI when it is not there."""
    program = CLI / "bin" / "aws"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", CLI], check=True)
        subprocess.run([CLI / "bin" / "pip", "install", "--quiet", f"awscli=={CLI_VERSION}"], check=True)
    return program


def peak() -> float:
    """Return the most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(size: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Return what each way took with the agent and with the CLI, in turns, each run in a process of its own."""
    program = install_cli()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(size, port), daemon=True)
    server.start()
    found: dict[str, list[dict[str, float]]] = {
        f"{way} {who}": [] for way in ("down", "up") for who in ("agent", "aws")
    }
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        for _ in range(runs):
            for kind, results in found.items():
                way, _, who = kind.partition(" ")
                with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as name:
                    path = Path(name, "object")
                    if way == "up":
                        with path.open("wb") as file:
                            file.truncate(size)
                    results.append(
                        move_apart(way, port, path) if who == "agent" else move_by_cli(program, way, port, path)
                    )
    finally:
        server.kill()
    return found


def move_apart(way: str, port: int, path: Path) -> dict[str, float]:
    """Move the object in a child, whose memory is its own."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(move(way, port, path)).encode())
        os._exit(0)
    os.wait()
    found: dict[str, float] = json.loads(os.read(reader, 4096))
    os.close(reader)
    os.close(writer)
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
