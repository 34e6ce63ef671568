"""A task whose analysis fills the disk: `unshare -rm python -m tests.runner.full_disk FOLDER`.

Prints what is left in the object store, as JSON. A disk that is full for its analysis only would prove nothing: the
agent must be on it, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from runner.iae.halt import SystemClock
from runner.iae.manifest import parse_manifest
from runner.iae.task import run_task
from tests.fakes.agent import FakeStore, raw_manifest

FILL = """
import json, os, pathlib, sys
m = json.load(open(sys.argv[1]))
pathlib.Path(m['results'], 'small').write_text('kept')
with open(pathlib.Path(m['scratch'], 'big'), 'wb', buffering=0) as big:
    try:
        while True:
            big.write(bytes(1 << 20))
    except OSError as error:
        for _ in range(3000):
            os.write(1, b'nobody has room for this line\\n')
        raise
"""


def main(folder: Path) -> None:
    image, disk, store = folder / "image", folder / "disk", FakeStore()
    (image / "files").mkdir(parents=True)
    (image / "files" / "run.py").write_text(FILL)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], check=True)
    store.objects |= {"lab/inputs/data.txt": b"1 2 3", "lab/configs/config.yaml": b"n: 3\n"}
    run_task(
        parse_manifest(raw_manifest(image, [sys.executable, "files/run.py"])),
        store=store,
        clock=SystemClock(),
        stop=threading.Event(),
        environ={},
        work=disk,
        find_instance=lambda: "i-1",
    )
    sys.stdout.write(json.dumps({key: body.decode() for key, body in store.objects.items()}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
