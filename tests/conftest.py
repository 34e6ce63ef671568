"""What all tests share: no test reads the person's own cloud, configuration or home."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# How long an example takes on a machine that runs other tests beside it says nothing about the code.
settings.register_profile("mayfly", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mayfly")
END_TO_END = "end_to_end"
FOREIGN = (
    *("AWS_", "MAYFLY_HOME", "MAYFLY_PROJECT", "MAYFLY_DATABASE_URL", "MAYFLY_UNSAFE"),
    *("TF_VAR_", "TF_CLI_ARGS", "TF_LOG", "TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT"),  # not where a provider is found
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TTY_", "COLUMNS", "LINES", "PYTHONWARNINGS", "PYTEST_ADDOPTS"),
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES"),
)
"""Variables that could lead a test to a real account or repository, or change what is said."""
NEAR = "127.0.0.1,localhost"


def pytest_configure() -> None:
    """Forget what is the person's own before any fixture is made: those of modules and sessions start programs, too.

    What tests serve on loopback is asked without the proxy of the house, and new files may be read by other users.
    """
    os.umask(0o022)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), NEAR]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (END_TO_END not in item.path.parts, item.path not in slow))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the crash tests counted: how much was killed is what their result is worth."""
    reports = [one for kind in terminalreporter.stats.values() for one in kind if isinstance(one, pytest.TestReport)]
    counts = [text for one in reports if one.when == "call" for name, text in one.user_properties if name == "counts"]
    if counts:
        terminalreporter.section("what was done to the platform")
        for text in sorted(map(str, counts)):
            terminalreporter.line(text)


class _ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, and all that need a running platform in one and the same.

    pytest-xdist's own groups are lost with pytest 9.2: they travel in node ids, which no longer may be changed.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return END_TO_END if f"/{END_TO_END}/" in path else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute with `_ByFile`, whatever `--dist` says."""
    return _ByFile(config, log)
