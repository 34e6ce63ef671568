"""One large object through the agent's own transfer, beside plain boto3: how fast, and in how much memory.

The store is a server of this process's parent that makes up bytes, so that neither a disk nor an emulator is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import socket
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


def move(kind: str, port: int, path: Path) -> dict[str, float]:
    """Fetch the object in this process; return seconds, CPU seconds, and the memory it took, MB."""
    session = boto3.Session(aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")  # noqa: S106
    config = Config(proxies={}, s3={"addressing_style": "path"}, max_pool_connections=24)
    client = session.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=config)
    client.head_object(Bucket="b", Key="k")
    before, start, cpu = peak(), time.monotonic(), time.process_time()
    if kind == "agent":
        failed = S3Store(client).download("b", [Copy(key="k", path=path)], lambda: None, lambda _: None)
        assert failed == []
    else:
        client.download_file("b", "k", str(path))
    return {"s": time.monotonic() - start, "cpu_s": time.process_time() - cpu, "MB": peak() - before}


def peak() -> float:
    """Return the most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(size: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Return what each kind took, in turns, each run in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(size, port), daemon=True)
    server.start()
    found: dict[str, list[dict[str, float]]] = {"agent": [], "boto3": []}
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        for _ in range(runs):
            for kind, results in found.items():
                with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as name:
                    reader, writer = os.pipe()
                    if os.fork() == 0:
                        os.write(writer, json.dumps(move(kind, port, Path(name, "object"))).encode())
                        os._exit(0)
                    os.wait()
                    results.append(json.loads(os.read(reader, 4096)))
                    os.close(reader)
                    os.close(writer)
    finally:
        server.kill()
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
