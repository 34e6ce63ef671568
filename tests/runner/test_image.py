from __future__ import annotations

import base64
import errno
import hashlib
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.image import Image, build, find, recipe_digest, remove, tree_digest, verify
from runner.image_install import explain
from state.errors import EnvironmentMissingError, MayflyError, SourceError, StateError

GREETING = "def greet():\n    return 'hello from the wheel'\n"


def make_wheel(folder: Path, name: str = "greeting", version: str = "1.0", tag: str = "py3-none-any") -> str:
    """Write a wheel with one module and one launcher; return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": GREETING,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:greet\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for path, text in files.items()
    )
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in (*files.items(), (f"{info}/RECORD", record + f"{info}/RECORD,,\n")):
            wheel.writestr(zipfile.ZipInfo(member), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_recipe(folder: Path) -> Path:
    """Write a recipe beside the folder of wheels that it needs."""
    recipe, wheels = folder / "environment", folder / "my wheels"
    (recipe / "lib").mkdir(parents=True)
    wheels.mkdir()
    (recipe / "requirements.lock").write_text(f"greeting==1.0 --hash=sha256:{make_wheel(wheels)}\n")
    (recipe / "run.py").write_text("import greeting\nprint(greeting.greet())\n")
    (recipe / "lib/tool.sh").write_text("#!/bin/sh\necho tool\n")
    return recipe


def stay_offline(monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    """Let a folder stand for the package index: no test asks the network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())  # a path with a blank would be two
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stay_offline(monkeypatch, tmp_path / "my wheels")
    return make_recipe(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def image(recipe: Path, store: Path) -> Image:
    return build(recipe, store)


@dataclass(frozen=True)
class Built:
    """An image that tests look at and leave as it is."""

    recipe: Path
    store: Path
    image: Image


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as monkeypatch:
        stay_offline(monkeypatch, folder / "my wheels")
        recipe = make_recipe(folder)
        yield Built(recipe=recipe, store=folder / "images", image=build(recipe, folder / "images"))


def test_the_digest_is_the_files_and_nothing_else(recipe: Path, tmp_path: Path) -> None:
    digest = recipe_digest(recipe)
    os.utime(recipe / "run.py", (0, 0))
    (recipe / "run.py").chmod(0o777)
    (recipe / "__pycache__").mkdir()
    (recipe / "__pycache__/run.cpython-311.pyc").write_text("x")
    (recipe / "empty folder").mkdir()
    assert recipe_digest(recipe) == digest
    copy = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", recipe, copy], check=True)
    assert recipe_digest(copy) == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe: (recipe / "run.py").write_text("print(2)"),
        lambda recipe: (recipe / "run.py").rename(recipe / "ran.py"),
        lambda recipe: (recipe / "new").write_text(""),
        lambda recipe: (recipe / "lib/tool.sh").unlink(),
    ],
    ids=["content", "name", "one more", "one less"],
)
def test_every_change_is_another_digest(recipe: Path, change: Callable[[Path], object]) -> None:
    before = recipe_digest(recipe)
    change(recipe)
    assert recipe_digest(recipe) != before


def test_the_digest_is_the_same_on_any_machine_for_ever(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "b/ü.txt").write_text("x\n")
    assert recipe_digest(tmp_path) == "e7ebf324ea3ad347b0f461121796c7f00c5e350f7b9854c9a75eefb4f3957f19"


def test_files_cannot_be_shifted_into_each_other(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate([{"a": "bc", "d": ""}, {"a": "b", "cd": ""}, {"ab": "c", "d": ""}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in {**files, "requirements.lock": ""}.items():
            (folder / name).write_text(text)
        digests.add(recipe_digest(folder))
    assert len(digests) == 3


def test_a_missing_lock_says_how_to_make_one(recipe: Path, store: Path) -> None:
    (recipe / "requirements.lock").unlink()
    with pytest.raises(SourceError, match=r"requirements\.lock: is missing\. .*uv pip compile"):
        build(recipe, store)


def test_a_recipe_holds_plain_files(recipe: Path) -> None:
    (recipe / "secret").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="secret: is not a plain file"):
        recipe_digest(recipe)


def test_a_missing_recipe_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        recipe_digest(tmp_path / "nowhere")


def test_an_image_runs_its_entry_point_with_its_own_packages(built: Built, tmp_path: Path) -> None:
    assert built.image.digest == built.image.path.name
    moved = tmp_path / "moved"  # in an instance it lies at another path
    subprocess.run(["cp", "-r", built.image.path, moved], check=True)
    done = subprocess.run(
        [moved / "venv/bin/python", moved / "files/run.py"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "hello from the wheel\n"


def test_an_image_knows_nothing_of_where_it_was_built(built: Built) -> None:
    launcher = (built.image.path / "venv/bin/greeting").read_text()
    assert launcher.startswith("#!/opt/iae/venv/bin/python")
    for path in built.image.path.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "RECORD":
            assert str(built.store).encode() not in path.read_bytes(), path
    assert not list((built.image.path / "venv/bin").glob("[Aa]ctivate*"))


def test_nobody_can_write_to_an_image_and_everybody_can_read_it(built: Built) -> None:
    for path in (built.image.path, *built.image.path.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            program = path.is_dir() or mode & 0o111
            assert mode == (0o555 if program else 0o444), path
    assert os.access(built.image.path / "files/lib/tool.sh", os.X_OK)
    assert not (built.image.path / "files/run.py").stat().st_mode & 0o111


def test_modules_are_compiled_for_good(built: Built) -> None:
    (compiled,) = built.image.path.glob("venv/lib/python*/site-packages/__pycache__/greeting.*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1  # by hash, not checked again (PEP 552)


def test_the_manifest_tells_what_was_built(built: Built) -> None:
    manifest = json.loads((built.image.path / "manifest.json").read_text())
    assert manifest["digest"] == recipe_digest(built.recipe)
    assert manifest["packages"] == ["greeting==1.0"]
    assert manifest["lock_sha256"] == hashlib.sha256((built.recipe / "requirements.lock").read_bytes()).hexdigest()
    assert manifest["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (manifest["files"], manifest["tree"]) == tree_digest(built.image.path)


def test_two_builds_are_the_same(built: Built, tmp_path: Path) -> None:
    again = build(built.recipe, tmp_path / "another" / "store")
    assert (again.path / "manifest.json").read_bytes() == (built.image.path / "manifest.json").read_bytes()


def test_what_is_there_is_not_built_again(built: Built) -> None:
    told: list[str] = []
    before = built.image.path.stat().st_mtime_ns
    assert build(built.recipe, built.store, told.append) == built.image
    assert told == []
    assert built.image.path.stat().st_mtime_ns == before


def test_progress_is_told(recipe: Path, store: Path) -> None:
    told: list[str] = []
    image = build(recipe, store, told.append)
    assert told[0] == f"building image {image.digest[:12]} from {recipe}"
    assert "fetched greeting 1.0" in told
    assert "is ready: 1 packages" in told[-1]


def test_verify_reads_everything(image: Image, store: Path) -> None:
    assert verify(store, image.digest) == image
    victim = image.path / "files/run.py"
    victim.chmod(0o644)
    victim.write_text("print('other')\n")
    victim.chmod(0o444)
    with pytest.raises(StateError, match="a file changed"):
        verify(store, image.digest)


def test_verify_notices_one_file_more(image: Image, store: Path) -> None:
    (image.path / "files").chmod(0o755)
    (image.path / "files/extra").write_text("")
    with pytest.raises(StateError, match="files instead of"):
        verify(store, image.digest)


def test_verify_of_nothing(store: Path) -> None:
    with pytest.raises(StateError, match="mayfly iae build"):
        verify(store, "0" * 64)


def test_an_image_whose_interpreter_has_gone_is_built_again(image: Image, recipe: Path, store: Path) -> None:
    links = [path for path in (image.path / "venv/bin").iterdir() if path.is_symlink()]
    python = next(link for link in links if link.readlink().is_absolute())
    python.parent.chmod(0o755)
    python.unlink()
    python.symlink_to("/usr/bin/python9")
    assert find(store, image.digest) is None
    build(recipe, store)
    assert verify(store, image.digest) == image


def test_what_a_crash_left_is_thrown_away(recipe: Path, store: Path) -> None:
    digest = recipe_digest(recipe)
    for name in (digest, f".building-{digest}"):
        half = store / name / "venv"
        half.mkdir(parents=True)
        (half / "junk").write_text("x")
        half.chmod(0o555)
    image = build(recipe, store)
    assert not (image.path / "venv/junk").exists()
    assert [path.name for path in store.iterdir() if path.is_dir()] == [digest]


def test_a_build_that_is_interrupted_leaves_nothing(recipe: Path, store: Path) -> None:
    def interrupt(told: str) -> None:
        if told == "compiling":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(recipe, store, interrupt)
    assert [path for path in store.iterdir() if path.is_dir()] == []


def test_builders_of_one_recipe_wait_for_each_other(recipe: Path, store: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        images = pool.starmap(build_quietly, [(recipe, store)] * 2)
    assert images[0] == images[1]
    verify(store, images[0].digest)


def build_quietly(recipe: Path, store: Path) -> Image:
    return build(recipe, store)


def test_remove(image: Image, store: Path) -> None:
    remove(store, image.digest)
    assert not image.path.exists()
    remove(store, image.digest)


def test_a_hash_that_does_not_match(recipe: Path, store: Path) -> None:
    (recipe / "requirements.lock").write_text(f"greeting==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(SourceError, match=r"greeting==1\.0 that was downloaded does not have the hash"):
        build(recipe, store)


def test_a_package_without_a_hash(recipe: Path, store: Path) -> None:
    (recipe / "requirements.lock").write_text("greeting==1.0\n")
    with pytest.raises(SourceError, match="without its hash"):
        build(recipe, store)


def test_a_package_that_is_nowhere(recipe: Path, store: Path) -> None:
    (recipe / "requirements.lock").write_text(f"nothing==9.9 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(SourceError, match=r"nothing==9\.9 has no wheel for Python 3"):
        build(recipe, store)


def test_a_lock_that_is_no_lock(recipe: Path, store: Path) -> None:
    (recipe / "requirements.lock").write_text("this is ] not a requirement\n")
    with pytest.raises(SourceError, match="cannot be read by the installer"):
        build(recipe, store)


def test_no_network(recipe: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    (recipe / "requirements.lock").write_text(f"nothing==9.9 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(EnvironmentMissingError, match="the package index does not answer"):
        build(recipe, store)


def test_a_store_that_cannot_be(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentMissingError, match="no image can be built in"):
        build(recipe, tmp_path / "file" / "store")


def test_a_full_disk(recipe: Path, store: Path) -> None:
    def fill(told: str) -> None:
        if told == "sealing the image":
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(EnvironmentMissingError, match="the disk is full"):
        build(recipe, store, fill)
    assert [path for path in store.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ("error: Failed to install\n  No space left on device (os error 28)", EnvironmentMissingError, "disk is full"),
        ("Hash mismatch for `numpy==2.4.6`\nExpected:", SourceError, "numpy==2.4.6 that was downloaded"),
        ("error: Failed to fetch: `https://pypi.org/simple/numpy/`", EnvironmentMissingError, "does not answer"),
        ("Because numpy==2.4.6 has no wheels with a matching Python ABI tag", SourceError, "no wheel"),
        ("something else\nERROR: broken pipe organ", EnvironmentMissingError, "ERROR: broken pipe organ"),
        ("", EnvironmentMissingError, "it printed nothing"),
    ],
)  # fmt: skip
def test_what_uv_says_is_understood_too(output: str, kind: type[MayflyError], words: str) -> None:
    error = explain(output, Path("requirements.lock"))
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
