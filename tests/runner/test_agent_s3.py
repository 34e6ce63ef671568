from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config
from moto import mock_aws

from runner.iae.ending import Ending, TaskError
from runner.iae.s3 import S3Store
from runner.iae.store import Copy, StoreError

MIB = 1024 * 1024


@pytest.fixture
def store() -> Iterator[S3Store]:
    with mock_aws():
        session = botocore.session.Session()
        session.set_credentials("test", "test")
        client = session.create_client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lab")
        client.put_bucket_versioning(Bucket="lab", VersioningConfiguration={"Status": "Enabled"})
        yield S3Store(client)
        client.close()


def no_check() -> None:
    pass


def test_small_objects(store: S3Store) -> None:
    store.put("lab", "g/status ü.txt", b"{}", "application/json")
    found = store.head("lab", "g/status ü.txt")
    assert found is not None
    assert (found.size, len(found.etag)) == (2, 32)
    assert found.version
    assert store.head("lab", "g/none") is None


def test_all_pages_of_a_folder(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    for number in range(25):
        store.put("lab", f"g/{number:04d}", b"", "text/plain")
    assert [found.key for found in store.scan("lab", "g/")] == [f"g/{number:04d}" for number in range(25)]


def test_large_files_there_and_back_in_parts(store: S3Store, tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small.csv"
    large.write_bytes(bytes(range(256)) * 4096 * 40)
    small.write_text("1,2\n")
    sent: list[int] = []
    copies = [Copy(key="g/large", path=large), Copy(key="g/small", path=small, content_type="text/csv")]
    assert store.upload("lab", copies, no_check, sent.append) == []
    assert sum(sent) == 40 * MIB + 4
    assert len(sent) >= 3
    found = store.head("lab", "g/large")
    assert found is not None
    assert found.etag.endswith("-3")
    back = [Copy(key=copy.key, path=tmp_path / f"back-{copy.path.name}") for copy in copies]
    assert store.download("lab", back, no_check, lambda _: None) == []
    assert back[0].path.read_bytes() == large.read_bytes()
    assert back[1].path.read_bytes() == b"1,2\n"


def test_a_missing_object_and_a_missing_bucket_are_final(store: S3Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        store.download("lab", [Copy(key="g/none", path=tmp_path / "x")], no_check, lambda _: None)
    assert not caught.value.retryable
    with pytest.raises(StoreError) as caught:
        store.put("elsewhere", "g/x", b"", "text/plain")
    assert (caught.value.code, caught.value.retryable) == ("NoSuchBucket", False)


def test_a_check_that_raises_ends_the_transfer(store: S3Store, tmp_path: Path) -> None:
    def check() -> None:
        raise TaskError(Ending.STOPPED, "stop")

    (tmp_path / "a").write_text("x")
    with pytest.raises(TaskError):
        store.upload("lab", [Copy(key="g/a", path=tmp_path / "a")], check, lambda _: None)


def test_nobody_there_may_pass(tmp_path: Path) -> None:
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    client = session.create_client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:9", config=config)
    store = S3Store(client)
    with pytest.raises(StoreError) as caught:
        store.put("lab", "g/x", b"", "text/plain")
    assert (caught.value.code, caught.value.retryable) == ("Unreachable", True)
    (tmp_path / "a").write_text("x")
    copy = Copy(key="g/a", path=tmp_path / "a")
    assert store.upload("lab", [copy], no_check, lambda _: None) == [copy]
    client.close()
