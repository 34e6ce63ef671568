from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.admission import admit
from runner.cancelling import parse_cancel
from runner.fingerprint import fingerprint
from runner.intake import parse_submission
from runner.parcel import Parcel, prepare
from runner.submit import Submitted, send, withdraw
from state.errors import AccessError, CloudError, SubmissionError, UsageError
from state.keys import parse_cancel_key
from state.submission import ObjectVersion
from tests.fakes.cloud import FakeCloud
from tests.fakes.platform import a_blueprint, a_platform

BUCKET = "demo-pca"
NOW = datetime(2026, 11, 22, 12, 0, 1, 5, tzinfo=UTC)


@pytest.fixture
def cloud() -> FakeCloud:
    made = FakeCloud()
    made.make_bucket(BUCKET)
    return made


def a_parcel(*datasets: Path, config: Path | Mapping[str, Any] | None = None, **more: Any) -> Parcel:
    options: dict[str, Any] = {"platform": a_platform(), "group": "lab1", "analysis": "pca", "now": NOW} | more
    return prepare(datasets=datasets, config=config, **options)


def submit(
    cloud: FakeCloud,
    *datasets: Path,
    config: Path | Mapping[str, Any] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    **more: Any,
) -> Submitted:
    """Submit with a user's own permissions."""
    return send(cloud.as_group("lab1"), a_parcel(*datasets, config=config, **more), on_bytes=on_bytes)


def a_file(folder: Path, name: str = "a.npy", body: bytes = b"data") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def keys(cloud: FakeCloud) -> list[str]:
    return [info.key for info in cloud.list(BUCKET, "")]


def test_what_is_submitted_is_what_the_platform_admits(cloud: FakeCloud, tmp_path: Path) -> None:
    config = a_file(tmp_path, "my.yaml", b"n_components: 3\n")
    sent = submit(
        cloud, a_file(tmp_path), a_file(tmp_path, "b.npy"), config=config, name="mice", instance_type="m5.xlarge"
    )
    body = cloud.read(BUCKET, sent.submit_key)
    source = ObjectVersion(bucket=BUCKET, key=sent.submit_key, version=sent.version)
    cloud.register_image(name="iae", digest="d1", architecture="x86_64")
    job = admit(
        parse_submission(body, source),
        platform=a_platform(),
        cloud=cloud,
        digest=lambda _: "d1",
        now=NOW,
        version=lambda *_: "v",
    ).job
    assert [task.dataset for task in job.tasks] == ["lab1/inputs/a.npy", "lab1/inputs/b.npy"] == list(sent.datasets)
    assert job.parameters["n_components"] == 3
    assert job.hardware.instance_type == "m5.xlarge"
    assert job.results == sent.results
    assert sent.results.root == f"lab1/results/job_mice_{BUCKET}_20261122T120001000005Z/"
    assert json.loads(body)["timestamp"] == "20261122T120001000005Z"


def test_the_submit_file_goes_last_and_once(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.make_queue("q")
    cloud.wire(BUCKET, "q")
    sent = submit(cloud, a_file(tmp_path))
    order = [what for method, what in cloud.store.calls if method in {"write", "upload"}]
    assert order[0] == "lab1/inputs/a.npy"
    assert order[-1] == sent.submit_key
    assert len(cloud.receive(cloud.queue_url("q"), wait_s=0)) == 1


@pytest.mark.parametrize("method", ["upload", "write", "list"])
def test_when_an_upload_fails_no_job_starts(cloud: FakeCloud, tmp_path: Path, method: str) -> None:
    cloud.fail_next(method, CloudError("no", service="s3", code="SlowDown"))
    with pytest.raises(CloudError, match="no"):
        submit(cloud, a_file(tmp_path))
    assert not any("submissions" in key for key in keys(cloud))


def test_the_same_dataset_is_not_sent_twice_and_still_counted(cloud: FakeCloud, tmp_path: Path) -> None:
    moved: list[int] = []
    first = submit(cloud, a_file(tmp_path))
    again = submit(cloud, a_file(tmp_path), timestamp="t2", on_bytes=moved.append)
    assert first.datasets == again.datasets
    assert cloud.calls_of("upload") == ["lab1/inputs/a.npy"]
    assert sum(moved) == a_parcel(tmp_path / "a.npy").size == 4
    assert first.config == again.config


def test_another_dataset_of_the_same_name_overwrites_nothing(cloud: FakeCloud, tmp_path: Path) -> None:
    first = submit(cloud, a_file(tmp_path, "a.x.npy"))
    other = a_file(tmp_path, "a.x.npy", b"other")
    second = submit(cloud, other, timestamp="t2")
    assert second.datasets == (f"lab1/inputs/a-{fingerprint(b'other')[:8]}.x.npy",)
    assert cloud.read(BUCKET, first.datasets[0]) == b"data"
    assert cloud.read(BUCKET, second.datasets[0]) == b"other"
    assert submit(cloud, other, timestamp="t3").datasets == second.datasets
    assert len(cloud.calls_of("upload")) == 2


def test_twins_from_two_folders_are_both_sent(cloud: FakeCloud, tmp_path: Path) -> None:
    sent = submit(cloud, a_file(tmp_path / "1", body=b"one"), a_file(tmp_path / "2", body=b"two"))
    assert [cloud.read(BUCKET, key) for key in sent.datasets] == [b"one", b"two"]
    with pytest.raises(UsageError, match="same name and content"):
        submit(cloud, a_file(tmp_path / "3", body=b"x"), a_file(tmp_path / "4", body=b"x"), timestamp="t2")
    assert len([key for key in keys(cloud) if "submissions" in key]) == 1


def test_a_folder_goes_up_whole_and_changed_ones_beside_it(cloud: FakeCloud, tmp_path: Path) -> None:
    folder = tmp_path / "session"
    a_file(folder, "1.npy", b"1")
    a_file(folder, "deep/2.npy", b"2")
    assert submit(cloud, folder).datasets == ("lab1/inputs/session/",)
    assert {"lab1/inputs/session/1.npy", "lab1/inputs/session/deep/2.npy"} <= set(keys(cloud))
    assert submit(cloud, folder, timestamp="t2").datasets == ("lab1/inputs/session/",)
    assert len(cloud.calls_of("upload")) == 2
    a_file(folder, "1.npy", b"changed")
    [changed] = submit(cloud, folder, timestamp="t3").datasets
    assert changed.startswith("lab1/inputs/session-")
    assert cloud.read(BUCKET, f"{changed}1.npy") == b"changed"
    assert cloud.read(BUCKET, "lab1/inputs/session/1.npy") == b"1"


def test_an_interrupted_folder_is_completed(cloud: FakeCloud, tmp_path: Path) -> None:
    a_file(tmp_path / "s", "1.npy")
    a_file(tmp_path / "s", "2.npy", b"two")
    cloud.write(BUCKET, "lab1/inputs/s/", b"")
    cloud.write(BUCKET, "lab1/inputs/s/1.npy", b"data")
    assert submit(cloud, tmp_path / "s").datasets == ("lab1/inputs/s/",)
    assert cloud.calls_of("upload") == ["lab1/inputs/s/2.npy"]


def test_a_name_that_is_the_beginning_of_another_is_not_taken_for_it(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.write(BUCKET, "lab1/inputs/a.npy.old", b"old")
    assert submit(cloud, a_file(tmp_path)).datasets == ("lab1/inputs/a.npy",)


def test_configs_are_named_by_their_content_so_that_no_running_job_is_disturbed(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    one = submit(cloud, a_file(tmp_path), config={"n_components": 1}).config
    two = submit(cloud, a_file(tmp_path), config={"n_components": 2}, timestamp="t2").config
    same = submit(cloud, a_file(tmp_path), config={"n_components": 1}, timestamp="t3").config
    none = submit(cloud, a_file(tmp_path), timestamp="t4").config
    assert one == same != two
    assert json.loads(cloud.read(BUCKET, none)) == {}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"config": {"n_components": "three"}}, 'n_components is "three", but must be a whole number'),
        ({"config": {"__duration__": 9999}}, "__duration__ is 9999"),
        ({"instance_type": "p3.2xlarge"}, "pca runs only on m5.large, m5.xlarge"),
        ({"timestamp": "a/b"}, "timestamp"),
        ({"name": "a/b"}, "The name of the job"),
    ],
)
def test_what_would_be_refused_is_refused_before_anything_moves(
    cloud: FakeCloud, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(SubmissionError) as caught:
        submit(cloud, a_file(tmp_path), **more)
    assert words in caught.value.reason
    assert keys(cloud) == []


def test_files_are_judged_here_as_they_would_be_there(cloud: FakeCloud, tmp_path: Path) -> None:
    empty, wrong = a_file(tmp_path, "e.npy", b""), a_file(tmp_path, "x.txt")
    with pytest.raises(SubmissionError) as caught:
        submit(cloud, empty, wrong)
    assert '"e.npy" is empty' in caught.value.reason
    assert '"x.txt" is not a file this analysis reads' in caught.value.reason
    with pytest.raises(SubmissionError, match="has 4 datasets"):
        submit(cloud, *[a_file(tmp_path, f"{n}.npy") for n in range(4)])
    sent = submit(cloud, wrong, check=False)
    assert sent.datasets == ("lab1/inputs/x.txt",)


def test_who_may_not_is_told_so(cloud: FakeCloud, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="must add pca"):
        submit(cloud, a_file(tmp_path), group="lab2")
    with pytest.raises(UsageError, match="no analysis nope"):
        submit(cloud, a_file(tmp_path), analysis="nope")
    assert keys(cloud) == []


@pytest.mark.parametrize("config", ["n: [", "- 1"])
def test_a_config_that_cannot_be_read_is_refused_even_unchecked(cloud: FakeCloud, tmp_path: Path, config: str) -> None:
    with pytest.raises(SubmissionError, match=r"c\.yaml"):
        submit(cloud, a_file(tmp_path), config=a_file(tmp_path, "c.yaml", config.encode()), check=False)


def test_files_that_are_not_there_are_named(cloud: FakeCloud, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.npy does not exist"):
        submit(cloud, tmp_path / "gone.npy")
    with pytest.raises(UsageError, match=r"gone\.yaml cannot be read"):
        submit(cloud, a_file(tmp_path), config=tmp_path / "gone.yaml")
    with pytest.raises(UsageError, match="No dataset is given"):
        submit(cloud)


def test_a_platform_with_another_bucket_is_obeyed(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.make_bucket("own-bucket")
    assert submit(cloud, a_file(tmp_path), platform=a_platform(a_blueprint(bucket="own-bucket"))).bucket == "own-bucket"


def test_a_name_with_blanks_is_kept(cloud: FakeCloud, tmp_path: Path) -> None:
    config = a_file(tmp_path / "my lab", "my settings.yaml", b"n_components: 3\n")
    sent = submit(cloud, a_file(tmp_path / "my lab", "my data.npy"), config=config)
    assert sent.datasets == ("lab1/inputs/my data.npy",)
    assert sent.config.startswith("lab1/configs/my settings-")
    assert cloud.read(BUCKET, "lab1/inputs/my data.npy") == b"data"


def test_what_was_sent_can_be_withdrawn_before_anybody_has_seen_it(cloud: FakeCloud, tmp_path: Path) -> None:
    parcel = a_parcel(a_file(tmp_path), name="mice")
    assert not withdraw(cloud.as_group("lab1"), parcel, "too early")
    assert keys(cloud) == []

    sent = send(cloud.as_group("lab1"), parcel)
    assert withdraw(cloud.as_group("lab1"), parcel, "wrong\nrecording")

    key = sent.submit_key.replace("submit.json", "cancel.json")
    assert parse_cancel_key(key) == "lab1"
    wish = parse_cancel(cloud.read(BUCKET, key))
    assert wish.timestamp == json.loads(cloud.read(BUCKET, sent.submit_key))["timestamp"]
    assert wish.reason == "cancelled by its user: wrong recording"


def test_a_fingerprint_is_the_md5_of_what_goes_up_in_one_piece(tmp_path: Path) -> None:
    """Files that go up in parts are in the contract suite, where a server computes their ETag."""
    assert fingerprint(a_file(tmp_path, body=b"abc")) == fingerprint(b"abc") == "900150983cd24fb0d6963f7d28e17f72"
