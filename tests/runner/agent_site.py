"""A machine with nothing but a Python, an S3 server, and the built agent between them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import botocore.session
from moto.server import ThreadedMotoServer

from runner.agent_build import AgentArchive
from tests.fakes.agent import BUCKET, ROOT, raw_manifest

REPORT = f"{ROOT}logs/task-0.json"
STATUS = f"{ROOT}logs/DATASET_NAME:data.txt_STATUS.txt"
BARE = Path(sys.executable).resolve()
"""This interpreter without any installed package."""


@dataclass
class Site:
    """An S3 server, and a machine to run the agent on."""

    endpoint: str
    folder: Path
    s3: Any
    archive: AgentArchive
    python: Path = BARE

    def start(self, script: str, **changes: Any) -> subprocess.Popen[str]:
        image = self.folder / "image"
        (image / "files").mkdir(parents=True)
        (image / "files/run.py").write_text(script)
        raw = raw_manifest(image, changes.pop("command", [str(self.python), "files/run.py"]), **changes)
        (self.folder / "manifest.json").write_text(json.dumps(raw))
        programs = self.folder / "bin"
        programs.mkdir()
        switch = programs / "shutdown"
        switch.write_text(f'#!/bin/sh\necho "$@" > "{self.folder}/off"\n')
        switch.chmod(0o755)
        return subprocess.Popen(
            [str(self.python), "-I", "-S", str(self.archive.path), "--manifest", str(self.folder / "manifest.json")],
            env={
                "PATH": f"{programs}:/usr/bin:/bin",
                "MAYFLY_WORK": str(self.folder),
                "MAYFLY_IMAGE_ROOT": str(image),
                "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read(self, key: str) -> Any:
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    @property
    def is_off(self) -> bool:
        return (self.folder / "off").read_text() == "-h now\n"


@contextmanager
def open_site(folder: Path, archive: AgentArchive, python: Path = BARE) -> Iterator[Site]:
    """Start the server; on the machine `python` is all there is."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    s3 = session.create_client("s3", region_name="us-east-1", endpoint_url=f"http://{host}:{port}")
    # moto keeps its buckets in the process, not in the server.
    with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
        s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="lab/inputs/data.txt", Body=b"1 2 3")
    s3.put_object(Bucket=BUCKET, Key="lab/configs/config.yaml", Body=b"n: 3\n")
    try:
        yield Site(endpoint=f"http://{host}:{port}", folder=folder, s3=s3, archive=archive, python=python)
    finally:
        s3.close()
        server.stop()
