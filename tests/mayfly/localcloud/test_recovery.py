"""Objects that were being written when the cloud was killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from mayfly.localcloud.home import Home
from mayfly.localcloud.recovery import mend_objects
from tests.mayfly.localcloud.rig import started, until

BUCKET = "lab-pca"


def put(path: Path, content: bytes, **described: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if described:
        path.with_name(path.name + ".meta.json").write_text(json.dumps(described))


def tear(path: Path, content: bytes) -> None:
    """Write new content beside the old description, as a kill between the two does."""
    path.write_bytes(content)
    later = path.with_name(path.name + ".meta.json").stat().st_mtime_ns + 10**6
    os.utime(path, ns=(later, later))


def test_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "123456789012/lab-pca/a", b"one", etag='"e"', size=3)
    before = (tmp_path / "123456789012/lab-pca/a.meta.json").read_bytes()
    assert mend_objects(tmp_path) == 0
    assert (tmp_path / "123456789012/lab-pca/a.meta.json").read_bytes() == before


def test_new_content_gets_a_new_description(tmp_path: Path) -> None:
    put(tmp_path / "123456789012/lab-pca/a", b"one", etag='"e"', size=3, content_type="text/plain")
    tear(tmp_path / "123456789012/lab-pca/a", b"other")
    assert mend_objects(tmp_path) == 1
    found = json.loads((tmp_path / "123456789012/lab-pca/a.meta.json").read_text())
    assert (found["size"], found["content_type"]) == (5, "text/plain")
    assert found["etag"] == '"795f3202b17cb6bc3d4b771d8c6c9eaf"'
    assert mend_objects(tmp_path) == 0


def test_a_version_that_had_been_set_aside_comes_back(tmp_path: Path) -> None:
    versions = [{"version_id": "v1", "etag": '"e"', "size": 3}]
    put(tmp_path / "123456789012/lab-pca/sub/a", b"one", etag='"e"', size=3, version_id="v1", versions=versions)
    put(tmp_path / ".versions/123456789012/lab-pca/v1/sub/a", b"one")
    tear(tmp_path / "123456789012/lab-pca/sub/a", b"other")
    assert mend_objects(tmp_path) == 1
    assert (tmp_path / "123456789012/lab-pca/sub/a").read_bytes() == b"one"
    assert mend_objects(tmp_path) == 0


def test_half_written_files_go(tmp_path: Path) -> None:
    put(tmp_path / "123456789012/lab-pca/a.tmp", b"ha")
    mend_objects(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_a_killed_cloud_left_half_written_goes_at_the_next_start(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    home.prepare()
    for folder in (home.root, home.state, home.consoles):
        (folder / ".0123.tmp").write_bytes(b"ha")
        (folder / "kept.json").write_bytes(b"{}")
    home.prepare()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"kept.json"}


def test_nothing_yet_is_nothing_to_mend(tmp_path: Path) -> None:
    assert mend_objects(tmp_path / "objects") == 0


@pytest.mark.cloud
@pytest.mark.slow
def test_a_kill_in_the_middle_of_writing_leaves_one_whole_version(tmp_path: Path) -> None:
    """Two writers overwrite one object as fast as they can while the cloud is killed."""
    bodies = [b"a" * (3 << 20), b"b" * (2 << 20)]
    for attempt in range(3):
        with started(tmp_path) as (cloud, clients):
            s3 = clients.s3
            if attempt == 0:
                s3.create_bucket(Bucket=BUCKET)
                s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
            told: list[str] = []

            def write(body: bytes, s3: object = s3, told: list[str] = told) -> None:
                with suppress(BotoCoreError, ClientError):
                    while True:
                        told.append(s3.put_object(Bucket=BUCKET, Key="k", Body=body)["VersionId"])  # type: ignore[attr-defined]

            writers = [threading.Thread(target=write, args=(body,)) for body in bodies]
            for writer in writers:
                writer.start()
            until(lambda told=told: len(told) > 4)
            os.kill(cloud.pid, signal.SIGKILL)
            for writer in writers:
                writer.join()
        with started(tmp_path) as (_, clients):
            got = clients.s3.get_object(Bucket=BUCKET, Key="k")
            body = got["Body"].read()
            assert body in bodies
            assert got["ContentLength"] == len(body)
            for version in told:
                assert clients.s3.get_object(Bucket=BUCKET, Key="k", VersionId=version)["Body"].read() in bodies
