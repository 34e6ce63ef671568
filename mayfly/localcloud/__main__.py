"""Runs one embedded cloud: `python -m mayfly.localcloud --home FOLDER --images FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sys
from pathlib import Path

from mayfly.localcloud.configuration import ACCOUNT, REGION, configure
from mayfly.localcloud.home import Home, bind_port, read_json
from state.errors import MayflyError


def main() -> int:
    """Serve until told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mayfly.localcloud", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of this cloud")
    parser.add_argument("--images", type=Path, required=True, help="store of analysis environments")
    parser.add_argument("--port", type=int, default=0, help="port of everything but EC2; any free one by default")
    parser.add_argument("--ec2-port", type=int, default=0, help="port of EC2; any free one by default")
    parser.add_argument("--account", default=ACCOUNT, help="account number, 12 digits")
    parser.add_argument("--region", default=REGION, help="region")
    parser.add_argument("--lifeline", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    try:
        return _serve(options)
    except MayflyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - who started this reads it
        return error.exit_code


def _serve(options: argparse.Namespace) -> int:
    os.umask(0o077)
    _raise_file_limit()
    home = Home(root=options.home.resolve())
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with home.locked():
        home.prepare()
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
        logging.getLogger("mayfly").setLevel(logging.INFO)
        configure(home, region=options.region, account=options.account)
        used = read_json(home.ports_file)
        main_door = bind_port(options.port, int(used.get("port", 0)))
        ec2_door = bind_port(options.ec2_port, int(used.get("ec2_port", 0)))
        # The emulators read their settings and their objects when they are imported, so not before this line.
        from mayfly.localcloud import recovery, server  # noqa: PLC0415

        recovery.mend_objects(home.objects)
        doors = server.Doors(main=main_door, ec2=ec2_door)
        asyncio.run(
            server.run(
                home,
                doors=doors,
                images=options.images.resolve(),
                account=options.account,
                region=options.region,
                lifeline=options.lifeline,
            )
        )
    return 0


def _raise_file_limit() -> None:
    """Allow as many open files as this machine does: 70 instances at once need more than the usual 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
