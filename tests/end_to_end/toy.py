"""The analysis of the end-to-end tests: copies its dataset, or misbehaves as its parameters say."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

manifest = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
parameters = manifest["parameters"]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})  # from the first line on it hears when it is told
print("reading", manifest["inputs"][0], flush=True)
if parameters["mode"] == "crash":
    raise SystemExit("the dataset is upside down")
if parameters["mode"] == "loud":
    for number in range(100_000):
        print(f"{number:08d}", "x" * 90)
if parameters["mode"] == "forever":
    parameters["seconds"] = 10**6
if parameters["mode"] == "told":
    signal.sigwait({signal.SIGCONT})
time.sleep(parameters["seconds"])  # an analysis that takes its time, and no test that waits
shutil.copy(manifest["inputs"][0], Path(manifest["results"]) / "copy.txt")
print("copied", flush=True)
