"""Install the locked packages and Mayfly itself into `.venv/`: `install.py runtime` or `install.py dev`.

`install.py agent` fetches again, alone, what the agent carries for instances with an older Python.

Standard library only: it runs before anything is installed. It prefers the locked uv, bootstrapped by pip from a
small lock of its own (5 seconds instead of 65), and falls back to pip when uv does not work here. Both get the
same locks and check every hash. What pip is configured to use (an index of the house, a certificate, a proxy)
is handed to uv, so that a machine on which pip works needs no second configuration.

It does nothing, in a twentieth of a second, when the same locks were installed here before.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
LOCKS = ("runtime", "dev")
AGENT = VENV / "share" / "mayfly" / "agent"
"""Where runner/agent_libraries.py looks for what the agent carries for Python 3.8 and 3.9."""
MINUTES_15 = 900
NOT_HERE = 9
"""The exit code for "this machine lacks something", as in state/errors.py."""
STOPPED = 130
"""What a shell expects of a program that Ctrl-C ended."""

FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
    "no-index": "UV_NO_INDEX",
}
"""Which variable tells uv what an option of pip says."""


PROGRAMS = ("mayfly.cli.commands", "runner.service", "runner.review.provider", "moto.server", "ministack.app")
"""Modules that import all that runs."""


class InstallError(Exception):
    """A sentence for the person at the terminal."""


def main(arguments: Sequence[str]) -> int:
    """Install, or say in a sentence why not."""
    if len(arguments) != 1 or arguments[0] not in (*LOCKS, "agent"):
        say("usage: install.py runtime|dev|agent")
        return 2
    try:
        if arguments[0] == "agent":
            with alone():
                make_venv()
                fetch_agent_libraries(installers())
        else:
            install(arguments[0])
    except KeyboardInterrupt:
        say("set-up: stopped; the next run goes on")
        return STOPPED
    except InstallError as error:
        say(str(error))
        return NOT_HERE
    except OSError as error:
        say(f"{error.filename or VENV}: {error.strerror or error}: set-up needs to write there")
        return NOT_HERE
    return 0


def install(what: str) -> None:
    """Bring `.venv/` to what the lock says, unless it is there already."""
    if is_installed(what):
        return
    with alone():
        if is_installed(what):  # by the one we waited for
            return
        install_alone(what)


def install_alone(what: str) -> None:
    """Install; nobody else does so here at the same time."""
    start = time.monotonic()
    make_venv()
    lock = PROJECT / "locks" / f"{what}.txt"
    count = sum(1 for line in lock.read_text().splitlines() if line[:1].isalnum())
    arguments = ["--require-hashes", "-r", str(lock)]
    installer = first_to_run(installers(), arguments, f"installing {count} locked packages")
    installer.run(["--no-deps", "--no-build-isolation", "-e", str(PROJECT)], "installing mayfly itself")
    try_agent_libraries(installer)
    compile_what_runs()
    stamp(what).write_text(fingerprint(what))
    say(f"set-up: done in {time.monotonic() - start:.0f} s")


def first_to_run(installers: Iterable[Pip | Uv], arguments: Sequence[str], title: str) -> Pip | Uv:
    """Let the first installer that can do something do it, and return that one."""
    last = InstallError(f"set-up: {title}: nothing here can install")
    for installer in installers:
        try:
            installer.run(arguments, f"{title} with {installer.name}")
        except InstallError as error:
            last = error
            say(f"set-up: {installer.name} could not do it")
        else:
            return installer
    raise last


def try_agent_libraries(installer: Pip | Uv, folder: Path = AGENT) -> None:
    """Fetch the agent's older libraries, or say what is missing without them: most images need none."""
    try:
        fetch_agent_libraries([installer], folder)
    except InstallError as error:
        say(str(error))
        say("set-up: goes on without; until `make setup-old` has fetched them, images need Python 3.10 or newer")


def fetch_agent_libraries(installers: Iterable[Pip | Uv], folder: Path = AGENT) -> None:
    """Keep what the agent carries for instances with Python 3.8 or 3.9 in a folder where no import finds it.

    Never those of an earlier lock: what could not be fetched is missing.
    """
    draft = folder.with_name(f"{folder.name}.new")
    for old in (folder, draft):
        shutil.rmtree(old, ignore_errors=True)
    options = ["--target", str(draft), "--python-version", "3.8", "--no-deps", "--no-compile", "--only-binary", ":all:"]
    lock = ["--require-hashes", "-r", str(PROJECT / "locks" / "agent.txt")]
    try:
        first_to_run(installers, [*options, *lock], "fetching the agent's libraries for Python 3.8 and 3.9")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def compile_what_runs() -> None:
    """Import the programs once, so that Python keeps what it compiles, where the environment lets it keep nothing, too.

    A start takes twice as long without, and the demo starts four. All packages would take ten times as long to compile.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for program in PROGRAMS:
        subprocess.run([PYTHON, "-c", f"import {program}"], env=kept, cwd=PROJECT, capture_output=True, check=False)


@contextmanager
def alone() -> Iterator[None]:
    """Let one set-up at a time work in this folder: two demos may be started side by side."""
    folder = os.open(PROJECT / "locks", os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("set-up: waiting for another set-up in this folder")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def is_installed(what: str) -> bool:
    """Whether the same locks were installed here before, for an interpreter like the one that runs this."""
    return fits() and any(read(stamp(name)) == fingerprint(name) for name in satisfying(what))


def fits() -> bool:
    """Whether `.venv/` has the version of the interpreter that runs this: `make PYTHON=…` may ask for another."""
    return PYTHON.exists() and f"version = {sys.version.split()[0]}\n" in read(VENV / "pyvenv.cfg")


def satisfying(what: str) -> tuple[str, ...]:
    """Return the locks that hold all of this one's packages: who can test can also run."""
    return ("runtime", "dev") if what == "runtime" else ("dev",)


def stamp(what: str) -> Path:
    """Return the file that remembers what was installed."""
    return VENV / f".installed-{what}"


def fingerprint(what: str) -> str:
    """Identify an installation: its lock, the project's own metadata, the interpreter, and where it stands."""
    digest = hashlib.sha256()
    for part in (
        (PROJECT / "locks" / f"{what}.txt").read_bytes(),
        (PROJECT / "locks" / "setup.txt").read_bytes(),
        (PROJECT / "locks" / "agent.txt").read_bytes(),
        (PROJECT / "pyproject.toml").read_bytes().split(b"[tool.ruff]")[0],
        str(PROJECT).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def read(path: Path) -> str:
    """Return a small file's text, empty when there is none."""
    return path.read_text() if path.exists() else ""


def make_venv() -> None:
    """Create `.venv/` with the interpreter that runs this, unless a working one of the same kind is there."""
    if fits():
        pip = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False)
        if pip.returncode == 0:
            return
    say(f"set-up: creating .venv with Python {sys.version.split()[0]}")
    base = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")  # not a venv's: this one is cleared
    command = [base if Path(base).exists() else sys.executable, "-m", "venv", "--clear", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"set-up: Python's venv module failed: {last_words(done.stdout + done.stderr)}")


class Pip:
    """pip, as every venv has it."""

    name = "pip"

    def run(self, arguments: Sequence[str], title: str) -> None:
        """Run `pip install`."""
        carry_out(
            [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments],
            title,
            os.environ,
        )


class Uv:
    """uv, which is ten times as fast.

    Attributes:
        program: where it is.
        environment: in which it sees what pip is configured to use.
        offline: whether it may use nothing but its cache.
    """

    def __init__(self, program: str, environment: Mapping[str, str], *, offline: bool = False) -> None:
        """Keep how it is called."""
        self.program, self.environment, self.offline = program, environment, offline

    @property
    def name(self) -> str:
        """What people are told."""
        return "uv from its cache" if self.offline else "uv"

    def run(self, arguments: Sequence[str], title: str) -> None:
        """Run `uv pip install`."""
        options = ["--quiet", "--python", str(PYTHON), *(["--offline"] if self.offline else [])]
        carry_out([self.program, "pip", "install", *options, *arguments], title, self.environment)


def installers() -> Iterator[Pip | Uv]:
    """Yield what can install, the best first; each is only looked for when the one before it failed."""
    uv = find_uv()
    if uv is not None:
        environment = uv_environment(pip_options(), os.environ)
        yield Uv(uv, environment)
        yield Uv(uv, environment, offline=True)
    yield Pip()


def find_uv() -> str | None:
    """Return the locked uv, fetched with pip unless it is there, or the one on PATH where it cannot be fetched."""
    locked = (PROJECT / "locks" / "setup.txt").read_text().split(" ", 1)[0].removeprefix("uv==")
    if not runs(str(UV), locked):
        try:
            Pip().run(["--retries", "1", "--require-hashes", "-r", str(PROJECT / "locks" / "setup.txt")], "fetching uv")
        except InstallError as error:
            say(f"set-up: uv cannot be fetched ({str(error).splitlines()[-1]})")
    other = shutil.which("uv")
    return str(UV) if runs(str(UV), locked) else other if other and runs(other, "") else None


def runs(program: str, version: str) -> bool:
    """Whether a program is there, works here, and is of a version."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and version in done.stdout


def pip_options() -> dict[str, str]:
    """Return pip's configured options for installing, the strongest source last."""
    done = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return parse_pip_config(done.stdout.splitlines())


def parse_pip_config(lines: Iterable[str]) -> dict[str, str]:
    """Read `pip config list`: `global.index-url='…'`, `install.…`, and `:env:.…` from the environment."""
    strength = ("global", "install", ":env:")
    found: dict[str, tuple[int, str]] = {}
    for line in lines:
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section not in strength:
            continue
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            text = value
        rank = strength.index(section)
        if rank >= found.get(option, (-1, ""))[0]:
            found[option] = (rank, text)
    return {option: text for option, (_, text) in found.items()}


def uv_environment(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv: pip's options under uv's names, below what is set for uv already."""
    mine = dict(environment)
    for option, variable in FROM_PIP.items():
        words = options.get(option, "").split()
        if words:
            # uv wants a comma between the places of find-links, a blank between all others.
            mine.setdefault(variable, ",".join(words) if option == "find-links" else " ".join(words))
    # pip takes the best match of all indexes; the hashes of the lock make that safe.
    mine.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    mine.setdefault("UV_NO_PROGRESS", "1")
    home = environment.get("HOME", "")
    if "UV_CACHE_DIR" not in mine and not (home and os.access(home, os.W_OK)):
        mine["UV_CACHE_DIR"] = str(VENV / "cache")
    return mine


def carry_out(command: Sequence[str], title: str, environment: Mapping[str, str]) -> None:
    """Run a command, say that it runs, and every ten seconds that it still does."""
    say(f"set-up: {title} …")
    start = time.monotonic()
    over = threading.Event()

    def tell() -> None:
        while not over.wait(10):
            say(f"set-up:   still {title}, {time.monotonic() - start:.0f} s")

    ticker = threading.Thread(target=tell, daemon=True)
    ticker.start()
    try:
        done = subprocess.run(
            command,
            env={**environment, "VIRTUAL_ENV": str(VENV)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=MINUTES_15,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"set-up: {title} took longer than 15 minutes") from error
    finally:
        over.set()
        ticker.join()
    if done.returncode:
        raise InstallError(f"set-up: {title} failed: {explain(done.stderr + done.stdout)}")


def explain(output: str) -> str:
    """Turn an installer's complaint into what is missing and the way out."""
    words = last_words(output)
    lower = output.lower()
    if "no space left" in lower:
        free = shutil.disk_usage(PROJECT).free // 2**20
        return f"{words}\nThe disk of {VENV} is full ({free} MB free); about 600 MB are needed."
    if any(
        sign in lower
        for sign in ("connection", "resolve", "network", "timed out", "no matching distribution", "unreachable")
    ):
        return (
            f"{words}\nThe packages in locks/ can be had neither from the network nor from a cache here. "
            "Point pip to an index of yours (PIP_INDEX_URL) or a folder of wheels (PIP_FIND_LINKS), then try again."
        )
    return words


def last_words(output: str) -> str:
    """Return the end of an output: the part that tells."""
    lines = [line for line in output.strip().splitlines() if line.strip() and "Retrying" not in line]
    return "\n".join(lines[-3:]) or "it said nothing"


def say(words: str) -> None:
    """Tell the person at the terminal; standard output stays the command's own."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
