"""The role's credentials may come late: the agent asks for them until they are there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runner.iae.s3 import connect

KEYS = {
    "Code": "Success",
    "AccessKeyId": "AKIALATE",
    "SecretAccessKey": "secret",
    "Token": "token",
    "Expiration": "2999-01-01T00:00:00Z",
}


class Metadata(BaseHTTPRequestHandler):
    """An instance metadata service that has nothing to say to the first who ask."""

    deaf = 3

    def do_PUT(self) -> None:
        if Metadata.deaf > 0:
            Metadata.deaf -= 1
            self._say(404, "")
        else:
            self._say(200, "a session")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "a session":
            self._say(401, "")
        else:
            self._say(200, json.dumps(KEYS) if self.path.endswith("/lab") else "lab")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("metadata")
def test_credentials_that_come_late_are_waited_for() -> None:
    store = connect("us-east-1", None)
    signer = store._client._request_signer
    assert signer._credentials.access_key == "AKIALATE"
