"""docs/examples/plain_client.py as people run it: a script with boto3 and nothing of ours, against `mayfly up`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.living import BUCKET, GROUP, OUTSIDE, Living

pytestmark = [
    pytest.mark.slow,
    pytest.mark.terraform,
    pytest.mark.cloud,
    pytest.mark.timeout(600),
]

CLIENT = Path(__file__).parents[2] / "docs" / "examples" / "plain_client.py"
OURS = re.compile(r"\|\s+((?:state|compiler|runner|mayfly|tests)(?:\.\w+)*)$", re.MULTILINE)
HOSTILE = (
    'it\'s "quoted" ; echo $(id) `id` & | > x.txt',
    "${path.root} %{ if true } {{ 7*7 }} <b>.txt",
    "mäuse 🐭 \\n %2F +.txt",
)
"""Names that a shell, Terraform, a template engine, HTML or a URL would read as something else than a name."""


class Client:
    """The script in a shell of its own, with what `mayfly up` said one should source."""

    def __init__(self, living: Living, folder: Path, *arguments: str | Path, **environment: str) -> None:
        self.results = folder / "results"
        sourced = re.findall(r"^  source (.+)$", living.said(), re.MULTILINE)[-1]
        more = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        command = [sys.executable, "-I", "-X", "importtime", CLIENT, BUCKET, GROUP, *arguments, "--to", self.results]
        self._process = subprocess.Popen(
            ["sh", "-c", f". {sourced} && {more} exec {shlex.join(map(str, command))}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def end(self) -> tuple[int, str]:
        """Wait; return the exit status and what it printed."""
        said, imported = self._process.communicate(timeout=400)
        assert "boto3" in imported
        assert OURS.findall(imported) == []
        return self._process.returncode, said


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_three_datasets_with_hostile_names_a_failing_one_and_one_on_storage_of_its_own(
    living: Living, tmp_path: Path
) -> None:
    with suppress(ClientError):  # another test may have made it
        living.client("s3").create_bucket(Bucket=OUTSIDE)
    role = f"arn:aws:iam::123456789012:role/e2e-group-{GROUP}"
    keys = living.client("sts").assume_role(RoleArn=role, RoleSessionName="plain")["Credentials"]
    three = Client(
        living,
        tmp_path,
        *(write(tmp_path / "three", name, f"the content of {name}") for name in HOSTILE),
        AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
        AWS_SESSION_TOKEN=keys["SessionToken"],
    )
    bad = tmp_path / "bad"
    config = write(bad, "crash.json", '{"mode": "crash"}')
    failing = Client(living, bad, write(bad, "bad.txt", "x"), "--config", config)
    own = tmp_path / "own"
    outside = Client(living, own, write(own, "mine.txt", "of their own"), "--results", f"s3://{OUTSIDE}/out/plain")

    status, said = three.end()
    assert status == 0, said
    assert "end of analysis: done\n3 datasets processed." in said
    for name in HOSTILE:
        assert f"{name} | SUCCESS | " in said
        assert (three.results / name / "copy.txt").read_text() == f"the content of {name}"
    assert "[Job Manager] STEP 4/4" in said

    status, said = failing.end()
    assert status == 1
    assert "end of analysis: failed" in said
    assert "bad.txt | FAILED | " in said
    assert said.count("the dataset is upside down") >= 2  # in the end marker, and in the status of the dataset
    assert "[JOB TERMINATE REASON]" in said

    status, said = outside.end()
    assert status == 0, said
    assert f"s3://{OUTSIDE}/out/plain/job_" in said
    assert (outside.results / "copy.txt").read_text() == "of their own"
    assert "mine.txt | SUCCESS | " in said
    living.until(lambda: not living.left(), "everything to be gone")
