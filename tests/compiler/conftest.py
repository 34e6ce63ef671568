"""Projects that tests of the compiler may change, and the option that writes golden files anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compiler.golden import UPDATE
from tests.compiler.projects import Project, example_project, small_project


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when this folder is named on the command line, which is when it is meant."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files of the compiler anew")


def pytest_configure(config: pytest.Config) -> None:
    """Hand the option on to where files are compared, in the processes of xdist, too."""
    if config.getoption("--update-golden", default=False):
        os.environ[UPDATE] = "1"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path / "project")


@pytest.fixture
def example(tmp_path: Path) -> Project:
    return example_project(tmp_path / "example")
