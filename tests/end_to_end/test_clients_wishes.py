"""Storage of a client's own, a cancel file, and the script in the docs: through real Terraform, as plain clients."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from state.job import JobStatus
from tests.end_to_end.living import BUCKET, GROUP, OUTSIDE, Living

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "storage.md"
OURS = {"demo-pca": BUCKET, "recording.npy": "recording.txt", "n_components: 3": "mode: copy"}
"""What the page says of the example platform, and what it is called here."""


@pytest.fixture(scope="module", autouse=True)
def script(living: Living, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The script of the page about storage, under way while the other tests of this file do theirs."""
    folder = tmp_path_factory.mktemp("script")
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for said, here in OURS.items():
        assert said in code
        code = code.replace(said, here)
    (folder / "script.py").write_text(code)
    (folder / "recording.txt").write_text("recorded")
    sourced = shlex.quote(str(living.home / "cloud" / "env.sh"))
    command = ["sh", "-c", f". {sourced} && exec {shlex.quote(sys.executable)} -I script.py"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def read(s3: Any, key: str) -> str | None:
    """Return an object of the outside bucket, once it is there."""
    try:
        body: bytes = s3.get_object(Bucket=OUTSIDE, Key=key)["Body"].read()
    except ClientError:
        return None
    return body.decode()


def test_a_job_on_storage_of_its_own_beside_one_that_is_cancelled_by_a_file(living: Living) -> None:
    s3 = living.client("s3")
    s3.create_bucket(Bucket=OUTSIDE)
    s3.put_object(Bucket=OUTSIDE, Key="raw/mouse.txt", Body=b"of their own")
    s3.put_object(Bucket=OUTSIDE, Key="settings/c.json", Body=b"{}")
    body = {
        "dataname": f"s3://{OUTSIDE}/raw/mouse.txt",
        "configname": f"s3://{OUTSIDE}/settings/c.json",
        "resultpath": f"s3://{OUTSIDE}/out",
        "timestamp": "outside1",
    }
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/submissions/own_submit.json", Body=json.dumps(body).encode())
    endless = living.submit(mode="forever")
    stamp = endless.rstrip("/").rsplit("_", 1)[-1]
    assert living.until(lambda: living.look(endless), "the endless job to be known")
    cancel = json.dumps({"timestamp": stamp, "reason": "wrong data"}).encode()
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/submissions/{stamp}_cancel.json", Body=cancel)

    root = f"out/job_own_{BUCKET}_outside1/"
    end = living.until(lambda: read(s3, f"{root}process_results/end.txt"), "the end of the job outside")
    assert end.startswith("end of analysis: done")
    assert read(s3, f"{root}process_results/copy.txt") == "of their own"
    certificate = read(s3, f"{root}logs/certificate.txt") or ""
    assert "JOB ID: outside1" in certificate
    record = living.ended(root)
    assert record.cost is not None
    assert record.cost > 0
    assert living.keys(f"{GROUP}/results/job_own_") == []

    stopped = living.ended(endless)
    assert stopped.status is JobStatus.CANCELLED
    assert stopped.ending is not None
    assert "cancelled by its user: wrong data" in stopped.ending.reason
    living.until(lambda: not living.left(), "everything to be gone")


def test_the_script_of_the_page_about_storage_runs_as_it_stands(living: Living, script: subprocess.Popen[str]) -> None:
    said, _ = script.communicate(timeout=300)
    assert script.returncode == 0, said
    assert said.startswith("end of analysis: done\n1 dataset processed.")
    living.until(lambda: not living.left(), "everything to be gone")
