from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from runner.iae.log import LastLines, TaskLog
from runner.iae.machine import find_instance, find_room, make_folders, unpack_data
from runner.iae.process import Output, User, run_analysis
from runner.iae.processes import Family


class Metadata(BaseHTTPRequestHandler):
    """Instance metadata, version 2: nothing without a token."""

    def do_PUT(self) -> None:
        self._answer(b"token-1" if "X-aws-ec2-metadata-token-ttl-seconds" in self.headers else None)

    def do_GET(self) -> None:
        self._answer(b"i-0abc\n" if self.headers["X-aws-ec2-metadata-token"] == "token-1" else None)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes | None) -> None:
        self.send_response(200 if body else 401)
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture
def metadata() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_machine_knows_its_id(metadata: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert find_instance({"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}) == "i-0abc"


def test_a_machine_without_metadata_has_no_id() -> None:
    assert find_instance({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}) == ""
    assert find_instance({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "nonsense"}) == ""


def test_the_work_folder_can_be_crossed_but_not_listed_by_others(tmp_path: Path) -> None:
    room = find_room({"MAYFLY_WORK": str(tmp_path)})
    assert stat.S_IMODE(room.stat().st_mode) == 0o711
    assert room.is_absolute()


def test_outside_of_a_zip_file_there_is_nothing_to_unpack(tmp_path: Path) -> None:
    assert unpack_data(tmp_path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_analysis_owns_what_it_may_write_and_runs_as_its_own_user(tmp_path: Path) -> None:
    nobody = User(uid=65534, gid=65534, name="nobody")
    folders = make_folders(tmp_path, nobody)
    owners = {path.name: path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {
        "inputs": 0,
        "config": 0,
        "results": 65534,
        "scratch": 65534,
        "reason": 65534,
        "checkpoint": 65534,
    }
    log = TaskLog(folders.root / "task.log", 1000)
    lines = LastLines(5)
    run_analysis(
        ["/usr/bin/id"],
        cwd=folders.scratch,
        environment={},
        user=nobody,
        limit_s=lambda: 20.0,
        stopped=lambda: False,
        family=Family(),
        output=Output(log=log, stdout=lines, stderr=lines),
    )
    log.close()
    assert [word.split("(")[0] for word in lines.texts()[0].split()] == ["uid=65534", "gid=65534", "groups=65534"]
