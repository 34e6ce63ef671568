"""Golden trees: what is generated, kept as files, so that a change of it is reviewed as a diff.

`python -m pytest tests/compiler --update-golden` writes them anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

UPDATE = "MAYFLY_UPDATE_GOLDEN"
"""Set to 1 by the option `--update-golden`."""
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def assert_golden(name: str, files: Mapping[str, str]) -> None:
    """Hold generated files to the golden tree of that name."""
    folder = GOLDEN / name
    if os.environ.get(UPDATE) == "1":
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="\n")
    kept = {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}
    assert sorted(kept) == sorted(files)
    for path, text in files.items():
        assert text == kept[path], f"{path} differs; look at it, then run pytest tests/compiler --update-golden"
