"""The libraries that the agent carries: today's, and older ones for instances with Python 3.8 or 3.9.

Today's are those of this environment. botocore left Python 3.8 with version 1.38, so set-up keeps the last ones that
run there in a folder of their own (locks/agent.txt), where nothing but this file looks. They are never used on a newer
Python: what was found wrong with them since is mended in today's only.

Of botocore's data, which is 100 MB for 400 services, the part that describes eight operations of S3 travels.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from runner.iae.libraries import CERTIFICATES, DATA, OLD_SET
from state.errors import EnvironmentMissingError

NAMES = ("botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
OPERATIONS = frozenset(
    {"HeadObject", "GetObject", "PutObject", "ListObjectsV2"}
    | {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}
)
"""What the agent asks of S3."""
OLD_LIBRARIES = Path(sys.prefix) / "share" / "mayfly" / "agent"
"""Where locks/install.py puts the older set."""

_DATA = "botocore/data/"
_CERTIFICATES = f"botocore/{CERTIFICATES}"
_MODEL = f"{_DATA}s3/2006-03-01/"
_WHOLE = ("_retry.json", "partitions.json", "sdk-default-configuration.json")
_LEFT_OUT = (_DATA, "urllib3/contrib/emscripten/", "../", "bin/")
"""Programs, too: some installers write them beside the modules."""


def collect_libraries(old: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the modules and data of both sets, path in the zip file and content.

    A library that is the same for all Pythons travels once. Without the older set the agent is one for Python 3.10 and
    newer, and says so on an older one.

    Args:
        old: folder of the older set.

    Raises:
        EnvironmentMissingError: a library is not installed.
    """
    modern = {name: _find(name, sys.path, sys.prefix) for name in NAMES}
    for library in modern.values():
        yield from _files(library)
    if not old.is_dir():
        return
    for name in NAMES:
        library = _find(name, [str(old)], str(old))
        if library.version != modern[name].version:
            # Whom to trust does not depend on Python: today's certificates are for both.
            yield from (
                (f"{OLD_SET}/{path}", content) for path, content in _files(library) if path != DATA + CERTIFICATES
            )


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


def _find(name: str, path: list[str], place: str) -> Distribution:
    found = next(iter(Distribution.discover(name=name, path=path)), None)
    if found is None:
        msg = f"the agent cannot be built: {name} is not installed in {place}. Run `make setup`."
        raise EnvironmentMissingError(msg)
    return found


def _files(library: Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield the modules of a library, and botocore's data."""
    for file in library.files or []:
        path = file.as_posix()
        if path.endswith(".py") and not path.startswith(_LEFT_OUT):
            yield path, file.read_binary()
        elif path.startswith(_DATA) or path == _CERTIFICATES:
            yield from _data(path, Path(str(file.locate())))


def _data(path: str, file: Path) -> Iterable[tuple[str, bytes]]:
    """Yield botocore's data as far as it is needed, under `data/`; see runner/iae/machine.py."""
    name = path.removeprefix(_DATA)
    target = f"{DATA}{name.removesuffix('.gz')}"
    if path == _CERTIFICATES:
        yield DATA + CERTIFICATES, file.read_bytes()
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
