"""The command that lets Prometheus read how the platform fares."""

from __future__ import annotations

import contextlib
import signal
from datetime import UTC, datetime

import click

from mayfly.cli.context import Context
from mayfly.cli.output import say
from runner.metrics import MetricsServer, render
from runner.reaper import forgotten
from state.errors import CloudError, EnvironmentMissingError
from state.figures import read_figures


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen; loopback unless you say so.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="0 takes a free one.")
@click.option("--once", is_flag=True, help="Print the figures once instead of serving them.")
@click.pass_obj
def metrics(context: Context, address: str, port: int, once: bool) -> None:
    """Serve the platform's figures for Prometheus at /metrics until stopped.

    Jobs by status, waiting and overdue ones, money, leftovers in the cloud, and when each worker was last heard of.

    \b
    Example:  mayfly metrics --once
    """  # noqa: D301
    platform, ledger = context.platform(), context.ledger()
    cloud, deployment = context.cloud(platform), platform.deployment.name

    def collect() -> str:
        now = datetime.now(UTC)
        figures = read_figures(ledger.engine, now)
        try:
            left = forgotten(cloud, ledger, deployment=deployment, now=now)
        except CloudError:
            left = None
        return render(figures, left)

    if once:
        say(collect().rstrip("\n"))
        return
    try:
        server = MetricsServer((address, port), collect)
    except OSError as error:
        raise EnvironmentMissingError(
            f"{address}:{port}: cannot listen there ({error.strerror}). Choose another with --address or --port."
        ) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as systemd stops a service
    with server, contextlib.suppress(KeyboardInterrupt):
        say(f"Figures are at http://{address}:{server.server_port}/metrics. Ctrl-C stops this.")
        server.serve_forever()
