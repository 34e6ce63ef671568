"""Projects that tests of the compiler may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiler.projects import Project, example_project, small_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def example(tmp_path: Path) -> Project:
    return example_project(tmp_path / "example")
