"""Build the agent: one zip file with runner/iae and the libraries it needs, the same bytes from the same inputs.

The libraries are taken from this environment, where they are locked with hashes. Every module travels as source and
compiled for this Python: an instance with the same Python starts 1 s faster, any other one falls back to the source.
What is there for Python 3.8 and 3.9 only is not compiled, for Mayfly itself never runs on those.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import runner.iae
import state
from runner.agent_libraries import OLD_LIBRARIES, collect_libraries
from runner.iae.libraries import OLD_SET
from state.errors import EnvironmentMissingError
from state.files import write_whole

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


def build_agent(cache: Path, old: Path = OLD_LIBRARIES) -> AgentArchive:
    """Return the agent that is made of the code and the libraries of this environment, built when it is new.

    Args:
        cache: a folder for built agents; made when missing.
        old: folder of the libraries for Python 3.8 and 3.9.

    Raises:
        EnvironmentMissingError: a library is not installed, or the folder cannot be written.
    """
    sources = collect(old)
    made_by = f"{sys.implementation.cache_tag} {sys.version_info[:3]} {zlib.ZLIB_RUNTIME_VERSION}\n"
    key = hashlib.sha256(made_by.encode())
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


def collect(old: Path = OLD_LIBRARIES) -> dict[str, bytes]:
    """Return what goes into the agent, path in the zip file → content, sorted by path; see `collect_libraries`."""
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
    found.update(collect_libraries(old))
    return dict(sorted(found.items()))


def pack(sources: Mapping[str, bytes]) -> bytes:
    """Return the zip file: sorted and without times, so that only the inputs (and this zlib) decide about its bytes.

    What a machine with this Python reads is not compressed, because starting is what counts there. Sources, which only
    other Pythons read, are: the file crosses a network once per task.
    """
    entries: dict[str, bytes] = {}
    for name, content in sources.items():
        if name.endswith(".py") and not name.startswith(f"{OLD_SET}/"):
            entries[f"{name}c"] = compile_module(name, content)
        entries[name] = content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(entries.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            compressed = zipfile.ZIP_DEFLATED if name.endswith(".py") else zipfile.ZIP_STORED
            file.writestr(info, content, compress_type=compressed)
    return stream.getvalue()


def compile_module(name: str, source: bytes) -> bytes:
    """Return a module compiled for this Python.

    Marshal's version 2 has no back references: in newer versions they depend on what else this process has loaded.
    """
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(code, 2)


def _own(package: str | None, name: str) -> bytes:
    return (Path(str(package)).parent / name).read_bytes()
