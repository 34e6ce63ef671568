"""Stopping a platform: all of it stops, whoever presses Ctrl-C how often; and what runs where there is no sandbox."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.plain import check_sandbox
from mayfly.cli.running import Running, interruptible, undisturbed
from mayfly.localcloud.sandbox import UNSAFE
from runner.bundled import BUNDLED
from runner.image import recipe_digest
from state.errors import EnvironmentMissingError, StateError
from tests.fakes.platform import a_blueprint, a_platform

REPOSITORY = Path(__file__).parents[3]


@dataclass
class Part:
    """A part of the platform that can be stopped; something may happen meanwhile."""

    name: str
    order: list[str]
    meanwhile: Callable[[], object] = lambda: None
    is_running: bool = True

    def stop(self) -> None:
        self.meanwhile()
        self.order.append(self.name)


@dataclass
class Sandbox:
    """What an embedded cloud says of its sandbox."""

    sandbox: str = "none"
    sandbox_problems: dict[str, str] = field(default_factory=lambda: {"bubblewrap": "not installed"})


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def platform_of(order: list[str], meanwhile: Callable[[], object]) -> Running:
    unused: Any = None
    supervisor: Any = Part("supervisor", order, meanwhile)
    local: Any = Part("cloud", order, press)
    return Running(cloud=unused, supervisor=supervisor, local=local, restart=unused, on_news=print)


@contextmanager
def closing(platform: Running) -> Iterator[None]:
    try:
        yield
    finally:
        platform.stop()


def test_ctrl_c_while_it_stops_skips_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        platform_of(order, press).stop()
    assert order == ["supervisor", "cloud"]
    assert capsys.readouterr().err.splitlines() == ["Already stopping …"] * 2


def test_a_second_ctrl_c_waits_for_the_end_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    with pytest.raises(KeyboardInterrupt), interruptible(), closing(platform_of(order, press)):
        press()
    assert order == ["supervisor", "cloud"]
    assert capsys.readouterr().err.splitlines() == ["Stopping …", *["Already stopping …"] * 2]


def test_the_cloud_stops_when_the_processes_cannot() -> None:
    order: list[str] = []

    def fail() -> None:
        raise OSError(5, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        platform_of(order, fail).stop()
    assert order == ["cloud"]


def test_why_it_stops_is_not_forgotten_for_a_ctrl_c() -> None:
    with pytest.raises(StateError, match="the reason"), closing(platform_of([], press)):
        raise StateError("the reason")


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptible(), undisturbed():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_every_recipe_that_comes_with_mayfly_is_known_by_its_digest() -> None:
    found = {name: recipe_digest(REPOSITORY / "blueprints" / name / "environment") for name in BUNDLED}
    assert found == BUNDLED, "write the new digests into runner/bundled.py"


def ask(local: Sandbox, analyses: list[str] | None, **env: str) -> list[str]:
    """Ask what runs here, on a platform with `pca` as it comes with Mayfly and `own`, which does not; return news."""
    platform = replace(a_platform(a_blueprint(), a_blueprint(id="own")), project=REPOSITORY)
    cloud: Any = local
    news: list[str] = []
    check_sandbox(cloud, platform, analyses, news.append, env)
    return news


def test_without_a_sandbox_what_comes_with_mayfly_runs_and_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(Sandbox(), ["pca"]) == []
    said = capsys.readouterr().err
    assert "NO SANDBOX: instances of pca are plain processes of yours" in said
    assert "bubblewrap: not installed" in said


def test_without_a_sandbox_what_is_a_persons_own_is_refused_before_anything_is_deployed(tmp_path: Path) -> None:
    recipe = tmp_path / "blueprints" / "own" / "environment"
    recipe.mkdir(parents=True)
    (recipe / "requirements.lock").touch()
    platform = replace(a_platform(a_blueprint(id="own")), project=tmp_path)
    local: Any = Sandbox()
    with pytest.raises(EnvironmentMissingError) as caught:
        check_sandbox(local, platform, ["own"], print, {})
    assert "only what comes with Mayfly runs, unchanged: own does not" in str(caught.value)
    assert f"set {UNSAFE}=1" in str(caught.value)


def test_who_opts_in_runs_everything_without_a_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(Sandbox(), None, **{UNSAFE: "1"}) == []
    assert "instances of pca, own are plain processes" in capsys.readouterr().err


def test_a_lesser_sandbox_is_told_and_none_is_needed_to_be() -> None:
    assert ask(Sandbox(sandbox="unshare"), None) == ["Instances are kept apart by unshare (bubblewrap: not installed)."]
    assert ask(Sandbox(sandbox="bubblewrap", sandbox_problems={}), None) == []


def test_what_is_said_of_plain_processes_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    written: list[str] = []
    monkeypatch.setattr(sys.stderr, "write", written.append)
    ask(Sandbox(), ["pca"])
    assert "\x1b[1;31m" in "".join(written)
