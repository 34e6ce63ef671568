"""moto's server on loopback: AWS's interfaces without policies, for tests of what happens on the way there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer

from runner.cloud_values import CloudSettings


@contextmanager
def moto_server() -> Iterator[CloudSettings]:
    """Run a server that knows nothing yet; moto keeps what it knows in the process, so two of them are one cloud."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = CloudSettings(
        region="us-east-1", account="123456789012", endpoint=f"http://{host}:{port}", access_key="k", secret_key="s"
    )
    try:
        forget(settings)
        yield settings
    finally:
        server.stop()


def forget(settings: CloudSettings) -> None:
    """Let moto forget everything: what another test file of this process left, or the test before."""
    with urlopen(Request(f"{settings.endpoint}/moto-api/reset", method="POST")):  # noqa: S310 - loopback
        pass
