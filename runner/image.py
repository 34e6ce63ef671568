"""Immutable analysis environments: a recipe folder goes in, a read-only image with the recipe's digest comes out.

A recipe is a folder of files with a `requirements.lock` that names every package with its hash. Its digest is made of
those bytes alone, so that the same recipe has the same id on any machine; what the id was built into on this machine
(Python, platform, the bytes of every file) is written into the image's own `manifest.json`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compiler.recipe import IMAGE_ROOT, LOCK_FILE, is_left_by_tools
from runner.image_install import OnProgress, install
from state.errors import EnvironmentMissingError, Place, SourceError, StateError
from state.files import hold, write_whole

_MANIFEST = "manifest.json"
_FORMAT = b"mayfly image 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One built image.

    Attributes:
        digest: the recipe's digest, 64 hexadecimal digits; the image's id everywhere.
        path: its folder: `venv/`, `files/`, `manifest.json`, all read-only.
        architecture: `x86_64` or `arm64`, as EC2 writes it.
        python: version of the interpreter that its packages were installed for.
    """

    digest: str
    path: Path
    architecture: str
    python: str


def recipe_digest(recipe: Path) -> str:
    """Return the id of a recipe: SHA-256 over the sorted paths and the contents of its files.

    Paths and contents are framed by their lengths, so that no two recipes look alike. Modes, times and what tools
    leave behind (`__pycache__`) do not count: they differ from machine to machine.

    Raises:
        SourceError: the folder or its lock file is missing, or it holds something that is not a plain file.
    """
    digest = hashlib.sha256(_FORMAT)
    for path in _recipe_files(recipe):
        name, content = path.relative_to(recipe).as_posix().encode(), path.read_bytes()
        digest.update(b"%d %d\n%b%b" % (len(name), len(content), name, content))
    return digest.hexdigest()


def build(recipe: Path, store: Path, on_progress: OnProgress = lambda _: None) -> Image:
    """Build a recipe into the store, or return the image when the store has it already.

    The image is made in a folder of its own and moved into place when its manifest is written, so that a crash
    leaves something that is thrown away by the next build, never half an image. Builds of one recipe wait for each
    other.

    Args:
        recipe: the blueprint's environment folder.
        store: the image store, made when missing.
        on_progress: told in one line what is going on.

    Raises:
        SourceError: the recipe is wrong: no lock file, no hashes, hashes that do not match, no wheel for this Python.
        EnvironmentMissingError: this machine has no network, no disk space, or no way to install packages.
    """
    digest = recipe_digest(recipe)
    with _disk_errors(store):
        store.mkdir(parents=True, exist_ok=True)
        with hold(store / f"{digest}.lock", lambda _: on_progress("another process builds this image: waiting for it")):
            found = find(store, digest)
            if found is not None:
                return found
            remove(store, digest)
            return _build(recipe, store, digest, on_progress)


def find(store: Path, digest: str) -> Image | None:
    """Return an image of the store that is whole and can run on this machine; None otherwise.

    This looks at the manifest only and takes a millisecond; `verify` reads every byte.
    """
    path = store / digest
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    # The interpreter lives outside of the image: it may have gone since.
    fits = manifest.get("platform") == _platform() and (path / "venv/bin/python").exists()
    return _image(path, manifest) if fits and manifest.get("digest") == digest else None


def verify(store: Path, digest: str) -> Image:
    """Return an image after reading all of it and comparing it with what was written down when it was built.

    Raises:
        StateError: the image is missing, cannot run here, or a file of it changed.
    """
    found = find(store, digest)
    way_out = "Build it again with `mayfly iae build`."
    if found is None:
        msg = f"image {digest[:12]} in {store} is missing, incomplete, or was built for another machine. {way_out}"
        raise StateError(msg)
    manifest = json.loads((found.path / _MANIFEST).read_bytes())
    count, tree = tree_digest(found.path)
    if (count, tree) != (manifest["files"], manifest["tree"]):
        changed = f"{count} files instead of {manifest['files']}" if count != manifest["files"] else "a file changed"
        msg = f"image {digest[:12]} in {store} is not what was built ({changed}). Remove {found.path}. {way_out}"
        raise StateError(msg)
    return found


def remove(store: Path, digest: str) -> None:
    """Remove an image and what an interrupted build left of it. Nothing happens when there is none."""
    for path in (store / digest, _workshop(store, digest)):
        if not path.is_symlink() and not path.exists():
            continue
        for folder, _, _ in os.walk(path):  # read-only folders do not let their files go
            Path(folder).chmod(0o700)
        shutil.rmtree(path)


def tree_digest(folder: Path) -> tuple[int, str]:
    """Return the number of files of an image and the SHA-256 over their paths, contents and executable bits.

    The manifest is left out, for the digest stands in it, and so are pip's RECORD files: they hold checksums of
    launchers that change with the folder an image was built in.
    """
    count, digest = 0, hashlib.sha256()
    for path in sorted(_files_below(folder)):
        name = path.relative_to(folder).as_posix()
        if name == _MANIFEST or (path.name == "RECORD" and path.parent.name.endswith(".dist-info")):
            continue
        if path.is_symlink():
            # The one absolute link is the interpreter, which lies outside of the image.
            kind, content = "link", "" if path.readlink().is_absolute() else str(path.readlink())
        else:
            kind = "program" if path.stat().st_mode & stat.S_IXUSR else "file"
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{kind}\0{name}\0{content}\n".encode(errors="surrogateescape"))
        count += 1
    return count, digest.hexdigest()


def _build(recipe: Path, store: Path, digest: str, on_progress: OnProgress) -> Image:
    workshop = _workshop(store, digest)
    workshop.mkdir()
    try:
        on_progress(f"building image {digest[:12]} from {recipe}")
        _copy_recipe(recipe, workshop / "files")
        packages = install(workshop / "venv", recipe / LOCK_FILE, IMAGE_ROOT, on_progress)
        on_progress("sealing the image")
        _make_read_only(workshop)
        count, tree = tree_digest(workshop)
        manifest = {
            "version": 1,
            "digest": digest,
            "lock_sha256": hashlib.sha256((recipe / LOCK_FILE).read_bytes()).hexdigest(),
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "platform": _platform(),
            "libc": " ".join(platform.libc_ver()),
            "packages": packages,
            "files": count,
            "tree": tree,
        }
        workshop.chmod(0o755)
        write_whole(workshop / _MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        (workshop / _MANIFEST).chmod(0o444)
        workshop.chmod(0o555)
        workshop.rename(store / digest)
    except BaseException:
        remove(store, digest)
        raise
    on_progress(f"image {digest[:12]} is ready: {len(packages)} packages, {count} files")
    return _image(store / digest, manifest)


def _image(path: Path, manifest: dict[str, object]) -> Image:
    machine = str(manifest["platform"]).rpartition("-")[2]
    return Image(
        digest=str(manifest["digest"]),
        path=path,
        architecture="arm64" if machine in {"aarch64", "arm64"} else "x86_64",
        python=str(manifest["python"]),
    )


def _platform() -> str:
    return f"{platform.system().lower()}-{platform.machine()}"


def _workshop(store: Path, digest: str) -> Path:
    return store / f".building-{digest}"


def _recipe_files(recipe: Path) -> list[Path]:
    """List a recipe's files in the order of their paths."""
    if not recipe.is_dir():
        raise SourceError("is not a folder.", place=Place(file=str(recipe)), way_out="Name an environment folder.")
    files = [p for p in _files_below(recipe) if not is_left_by_tools(p.relative_to(recipe))]
    for path in files:
        if path.is_symlink() or not path.is_file():
            raise SourceError(
                "is not a plain file, and a recipe holds nothing else.",
                place=Place(file=str(path)),
                way_out="Put the file itself here.",
            )
    if recipe / LOCK_FILE not in files:
        raise SourceError(
            "is missing.",
            place=Place(file=str(recipe / LOCK_FILE)),
            way_out="Make it from requirements.in with `uv pip compile --universal --generate-hashes`.",
        )
    return sorted(files, key=lambda path: path.relative_to(recipe).as_posix())


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder that is not a folder itself; a link to a folder is not followed."""
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        yield from (Path(base) / name for name in (*files, *links))


def _copy_recipe(recipe: Path, target: Path) -> None:
    for source in _recipe_files(recipe):
        copy = target / source.relative_to(recipe)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = source.read_bytes()
        copy.write_bytes(content)
        # The mode follows from the content alone, as the digest does.
        copy.chmod(0o755 if content.startswith(b"#!") else 0o644)


def _make_read_only(folder: Path) -> None:
    """Take away the right to write from everybody, and let everybody read: a task runs as a user of its own."""
    for base, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(base) / name
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & stat.S_IXUSR else 0o444)
        Path(base).chmod(0o555)


@contextmanager
def _disk_errors(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            msg = f"the disk is full: no image can be built in {store}. Free about 1 GB and try again."
        else:
            msg = f"no image can be built in {store}: {error.strerror or error}. Check the folder's owner and mode."
        raise EnvironmentMissingError(msg) from error
