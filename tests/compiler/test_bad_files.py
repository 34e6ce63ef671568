"""Every kind of broken file in every place: a sentence with the file's name, at once, and never a traceback."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.compiler.projects import MINIMAL, REPOSITORY, Project

PLACES = ("mayfly.yaml", "users/lab1.yaml", "blueprints/tiny/blueprint.yaml")
BILLION = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "empty": (b"", "is empty. It needs at least: "),
    "a list": (b"- a\n- b\n", "must be a mapping, not a list."),
    "a word": (b"hello\n", 'must be a mapping, not "hello".'),
    "tabs": (b"id:\n\tx: 1\n", "Indent with spaces"),
    "keys twice": (b"id: a\nid: b\n", "the key stands here and in line 1. Keep one."),
    "a billion nodes": (BILLION.encode(), "anchors and aliases are not read."),
    "50 MB": (b"#" * 50_000_000, "is larger than 1000 kB."),
    "deep": (b"a: " + b"{a: " * 100_000, "nested more than 40 levels"),
    "not UTF-8": (b"id: \xff\xfe\n", ":1:5: is not UTF-8. Save the file as UTF-8."),
    "UTF-16": ("id: x\n".encode("utf-16"), "is not UTF-8."),
    "a NUL": (b"id: a\0b\n", ":1:6: holds a NUL character."),
    "binary": (bytes(range(256)) * 100, "UTF-8"),
    "a tag": (b"id: !!python/object/apply:os.system [x]\n", "is not read."),
    "two documents": (b"id: a\n---\nid: b\n", "a second document starts here."),
    "unclosed": (b"id: [a\n", "is not YAML"),
    "a long number": (b"id: " + b"9" * 100_000 + b"\n", ": id: "),
    "control characters": (b"id: a\x1b[2J\n", "is not YAML"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_told_by_name(project: Project, place: str, kind: str) -> None:
    raw, expected = BROKEN[kind]
    project.write(place, raw)
    start = time.process_time()
    errors = project.errors()
    assert time.process_time() - start < 5
    assert any(error.startswith(place) and expected in error for error in errors), errors
    assert all(len(error) < 1000 for error in errors)


def test_two_files_with_one_id_are_told(project: Project) -> None:
    project.write("users/lab2.yaml", "id: lab1\ntitle: x\n")
    project.add_blueprint("other", MINIMAL)
    text = "\n".join(project.errors())
    assert "users/lab2.yaml:1:5: id: 'lab1' is not the name of its file, 'lab2'." in text
    assert "blueprints/other/blueprint.yaml:1:5: id: 'tiny' is not the name of its folder, 'other'." in text


@pytest.mark.parametrize("name", ["Tiny", "TINY", "tiny.", "tiny ", "t\u0131ny", "tiny\u200b"])
def test_ids_that_would_be_one_after_normalisation_are_refused(project: Project, name: str) -> None:
    project.add_blueprint(name, MINIMAL.replace("id: tiny", f'id: "{name}"'))
    (error,) = project.errors()
    assert error.startswith(f"blueprints/{name}/blueprint.yaml:1:5: id: ")
    assert "is not an id" in error


@pytest.mark.parametrize("path", ["..", "../pca", "a/../..", "/etc", ".", "a//b", "a\\b", "a\nb", "${x}", "~", "a/./b"])
def test_paths_that_lead_out_of_the_recipe_are_refused(project: Project, path: str) -> None:
    quoted = path.replace("\\", "\\\\").replace("\n", "\\n")
    project.add_blueprint("tiny", MINIMAL + f'environment: {{recipe: "{quoted}", entry_point: "{quoted}"}}\n')
    text = "\n".join(project.errors())
    for field in ("recipe", "entry_point"):
        assert f"environment.{field}: " in text
    assert "is not a path below this folder" in text


def fenced(page: str, language: str) -> list[str]:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def test_the_blueprint_guide_s_analysis_is_right(project: Project) -> None:
    """The commands of the page, run as they stand there."""
    script = next(block for block in fenced("blueprint-guide.md", "sh") if "cat >" in block)
    subprocess.run(["sh", "-ec", script], cwd=project.folder, check=True, capture_output=True)
    project.write("users/lab1.yaml", "id: lab1\ntitle: x\nanalyses: [line-count, tiny]\n")
    assert project.errors() == project.warnings() == []
    path = project.folder / "blueprints/line-count/blueprint.yaml"
    path.write_text(path.read_text().replace("t3.medium", "t3.meduim"))
    (shown,) = (block for block in fenced("blueprint-guide.md", "text") if "t3.meduim" in block)
    assert project.errors() == [shown.strip()]


def test_the_profile_guide_s_group_is_right(project: Project) -> None:
    (shown,) = (block for block in fenced("profile-guide.md", "yaml") if "id: imaging" in block)
    project.add_blueprint("pca", MINIMAL.replace("tiny", "pca"))
    Path(project.folder / "users/imaging.yaml").write_text(shown, encoding="utf-8")
    assert project.errors() == project.warnings() == []
