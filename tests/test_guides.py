"""The guides, tried from a fresh clone: nothing to merged as far as it needs no running platform, and a real comment.

`MAYFLY_UPDATE_GOLDEN=1` writes the comment of the review guide anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.terraform]
PROJECT = Path(__file__).parent.parent
BLUEPRINTS, REVIEWS = (PROJECT / "docs" / f"{page}.md" for page in ("blueprint-guide", "review-guide"))
NEEDS_A_PLATFORM = re.compile(r"^(mayfly (up|submit)|printf) ?", re.MULTILINE)
SHOWN = re.compile(r"(?m)(^(?:>.*\n)+)(?=\n## Apply exactly)")
VERSION = re.compile(r"\b[0-9a-f]{16}\b")
WHO = {f"GIT_{who}_{what}": "ada@lab1.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
LARGER = r"""
sed -i -e 's/^  - instance_type: m5.large$/  - instance_type: m5.2xlarge/' -e 's/^  duration: 10$/  duration: 20/' \
  blueprints/pca/blueprint.yaml
echo 'analyses: [pca]' >>users/lab2.yaml
mayfly plan --changed-since HEAD --secretless --policy --format markdown
"""
"""What the review guide says was changed before it shows the comment."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose branch main is what stands here, with what was not committed yet."""
    folder = tmp_path / "clone"
    git(PROJECT, "clone", "--quiet", ".", str(folder))
    for name in git(PROJECT, "ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0"):
        here, there = PROJECT / name, folder / name
        if here.is_file():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
        elif name:
            there.unlink(missing_ok=True)
    git(folder, "checkout", "--quiet", "-B", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "what stands here")
    return folder


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, env={**os.environ, **WHO}, check=True, capture_output=True, text=True).stdout


def run(script: str, folder: Path) -> tuple[str, str]:
    """Run commands of a page and return what they print."""
    environment = {**os.environ, **WHO, "PATH": f"{PROJECT / '.venv/bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_blueprint_guide_leads_to_what_reviewers_see(clone: Path) -> None:
    set_up, *blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", BLUEPRINTS.read_text(encoding="utf-8"))
    assert set_up.startswith("make setup\n"), "the one block that is not run here: this machine is set up"
    said, noted = run("\n".join(block for block in blocks if not NEEDS_A_PLATFORM.search(block)), clone)
    assert "analyses and 2 groups: " in said
    assert "analyses/line-count: planned" in noted
    assert "groups/lab1: planned" in noted
    assert "Group lab1 may now use line-count" in said


def test_the_comment_of_the_review_guide_is_what_is_said_today(clone: Path) -> None:
    comment, _ = run(LARGER, clone)
    mark, _, body = comment.partition("\n")
    assert mark == "<!-- mayfly-plan -->"
    quoted = "".join(f"> {line}".rstrip() + "\n" for line in body.splitlines())
    page = REVIEWS.read_text(encoding="utf-8")
    if os.environ.get("MAYFLY_UPDATE_GOLDEN") == "1":
        page = SHOWN.sub(lambda _: quoted, page)
        REVIEWS.write_text(page, encoding="utf-8")
    (shown,) = SHOWN.findall(page)
    assert VERSION.sub("…", shown) == VERSION.sub("…", quoted), "look at it, then set MAYFLY_UPDATE_GOLDEN=1"
