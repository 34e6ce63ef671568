"""Build the agent: one zip file with runner/iae and the libraries it needs, the same bytes from the same inputs.

The libraries are taken from this environment, where they are locked with hashes. Every module travels as source and
compiled for this Python: an instance with the same Python starts 1 s faster, any other one falls back to the source.
Of botocore's data, which is 100 MB for 400 services, the part that describes eight operations of S3 travels.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import marshal
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import runner.iae
import state
from state.errors import EnvironmentMissingError
from state.files import write_whole

DISTRIBUTIONS = ("botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
OPERATIONS = frozenset(
    {"HeadObject", "GetObject", "PutObject", "ListObjectsV2"}
    | {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}
)
"""What the agent asks of S3."""

_MODEL = "botocore/data/s3/2006-03-01/"
_DATA = "botocore/data/"
_WHOLE = ("_retry.json", "partitions.json", "sdk-default-configuration.json")
_LEFT_OUT = ("botocore/data/", "urllib3/contrib/emscripten/")
_UNCHECKED_HASH = 1  # PEP 552: compiled from a source with this hash, not to be checked again
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentArchive:
    """A built agent.

    Attributes:
        path: the zip file, run as `python3 agent.pyz --manifest FILE`.
        sha256: its checksum, which an instance compares before it runs it.
        size: bytes.
    """

    path: Path
    sha256: str
    size: int


def build_agent(cache: Path) -> AgentArchive:
    """Return the agent that is made of the code and the libraries of this environment, built when it is new.

    Args:
        cache: a folder for built agents; made when missing.

    Raises:
        EnvironmentMissingError: a library is not installed, or the folder cannot be written.
    """
    sources = collect()
    key = hashlib.sha256(f"{sys.implementation.cache_tag} {sys.version_info[:3]}\n".encode())
    for name, content in sources.items():
        key.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    path = cache / f"agent-{key.hexdigest()[:16]}.pyz"
    try:
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            write_whole(path, pack(sources), mode=0o444)
        content = path.read_bytes()
    except OSError as error:
        msg = f"the agent cannot be built in {cache}: {error.strerror or error}. Check the folder and the disk space."
        raise EnvironmentMissingError(msg) from error
    return AgentArchive(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def collect() -> dict[str, bytes]:
    """Return what goes into the agent, path in the zip file → content, sorted by path."""
    found = {
        "__main__.py": _own(runner.iae.__file__, "__main__.py"),
        "runner/__init__.py": b"",
        "state/__init__.py": b"",
        "state/errors.py": _own(state.__file__, "errors.py"),
        "state/values.py": _own(state.__file__, "values.py"),
    }
    for path in sorted(Path(str(runner.iae.__file__)).parent.glob("*.py")):
        if path.name != "__main__.py":
            found[f"runner/iae/{path.name}"] = path.read_bytes()
    for name in DISTRIBUTIONS:
        found.update(_library(name))
    return dict(sorted(found.items()))


def pack(sources: Mapping[str, bytes]) -> bytes:
    """Return the zip file: sorted, without times, not compressed, so that only the inputs decide about its bytes.

    Not compressed also means that Python reads a module in one piece; the file crosses a network once per task.
    """
    entries: dict[str, bytes] = {}
    for name, content in sources.items():
        if name.endswith(".py"):
            entries[f"{name}c"] = compile_module(name, content)
        entries[name] = content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(entries.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            file.writestr(info, content)
    return stream.getvalue()


def compile_module(name: str, source: bytes) -> bytes:
    """Return a module compiled for this Python.

    Marshal's version 2 has no back references: in newer versions they depend on what else this process has loaded.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(code, 2)


def trim_model(model: dict[str, Any]) -> dict[str, Any]:
    """Keep the operations that the agent uses, the shapes they need, and no documentation."""
    operations = {name: model["operations"][name] for name in sorted(OPERATIONS)}
    shapes: dict[str, Any] = {}
    waiting = list(_shapes_of(operations))
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            waiting.extend(_shapes_of(shapes[name]))
    kept = {**model, "operations": operations, "shapes": dict(sorted(shapes.items()))}
    return _without_documentation(kept)  # type: ignore[no-any-return]  # a dict stays a dict


def trim_endpoints(endpoints: dict[str, Any]) -> dict[str, Any]:
    """Keep where S3 is, in every partition."""
    partitions = [
        {**partition, "services": {name: value for name, value in partition["services"].items() if name == "s3"}}
        for partition in endpoints["partitions"]
    ]
    return {**endpoints, "partitions": partitions}


def _own(package: str | None, name: str) -> bytes:
    return (Path(str(package)).parent / name).read_bytes()


def _library(name: str) -> Iterable[tuple[str, bytes]]:
    """Yield the modules of a distribution, and botocore's data."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError as error:
        msg = f"the agent cannot be built: {name} is not installed in {sys.prefix}. Run `make setup`."
        raise EnvironmentMissingError(msg) from error
    for file in files:
        path = file.as_posix()
        if path.endswith(".py") and not path.startswith(_LEFT_OUT):
            yield path, file.read_binary()
        elif path.startswith(_DATA) or path == "botocore/cacert.pem":
            yield from _data(path, Path(str(file.locate())))


def _data(path: str, file: Path) -> Iterable[tuple[str, bytes]]:
    """Yield botocore's data as far as it is needed, under `data/`; see runner/iae/machine.py."""
    name = path.removeprefix(_DATA)
    target = f"data/{name.removesuffix('.gz')}"
    if path == "botocore/cacert.pem":
        yield "data/cacert.pem", file.read_bytes()
    elif name in _WHOLE:
        yield target, _compact(json.loads(file.read_bytes()))
    elif name == "endpoints.json":
        yield target, _compact(trim_endpoints(json.loads(file.read_bytes())))
    elif path.startswith(_MODEL) and "service-2.json" in path:
        yield target, _compact(trim_model(_load(file)))
    elif path.startswith(_MODEL) and ("endpoint-rule-set" in path or "sdk-extras" in path):
        yield target, _compact(_load(file))


def _load(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    loaded: dict[str, Any] = json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
    return loaded


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _shapes_of(value: object) -> Iterable[str]:
    """Yield the names of the shapes that a part of a service model refers to."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "shape" and isinstance(inner, str):
                yield inner
            else:
                yield from _shapes_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _shapes_of(inner)


def _without_documentation(value: object) -> Any:  # noqa: ANN401 - it returns what it is given
    if isinstance(value, dict):
        return {
            # Emptied, not removed: botocore insists on some of them.
            name: "" if name == "documentation" and isinstance(inner, str) else _without_documentation(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_documentation(inner) for inner in value]
    return value
