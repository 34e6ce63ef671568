"""What every command starts from: the project, the home, and what is opened from there on first use."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.deployment import DEPLOYMENT_FILE, CloudKind
from compiler.load import load_platform
from compiler.model import Platform
from runner.cloud import AwsCloud
from runner.cloud_values import CloudSettings
from runner.retired import find_retired
from state.backend import Backend, LocalBackend, S3Backend
from state.database import sqlite_url
from state.errors import StateError, UsageError
from state.files import hold
from state.ledger import Ledger, open_ledger

RUNTIME = ".mayfly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One runtime folder; every file that a running platform writes has its place here.

    Attributes:
        folder: the runtime folder itself.
    """

    folder: Path

    @property
    def lock(self) -> Path:
        """Held by the process that runs the embedded cloud here; contains its id."""
        return self.folder / "lock"

    @property
    def cloud(self) -> Path:
        """What the embedded cloud keeps."""
        return self.folder / "cloud"

    @property
    def cloud_file(self) -> Path:
        """Where the running embedded cloud says how it is reached."""
        return self.cloud / "cloud.json"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.folder / "ledger.db"

    @property
    def state(self) -> Path:
        """Terraform's state files of the platform's roots."""
        return self.folder / "state"

    @property
    def jobs(self) -> Path:
        """The workspaces of jobs."""
        return self.folder / "jobs"

    @property
    def logs(self) -> Path:
        """Logs of the processes that `mayfly up` starts, and of Terraform."""
        return self.folder / "logs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home: one embedded cloud at a time writes in it. A dead process holds nothing.

        Raises:
            StateError: a living process holds it.
        """

        def refuse(holder: str) -> None:
            raise StateError(
                f"{self.folder} is in use by process {holder}. Stop that one, or take another home with --home."
            )

        self.folder.mkdir(parents=True, exist_ok=True)
        with hold(self.lock, refuse):
            yield

    def is_locked(self) -> bool:
        """Whether a living process holds this home."""
        try:
            with self.lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the options of `mayfly` itself say. Nothing is read before a command asks for it.

    Attributes:
        project_option: `--project`, or None to search upward from the working folder.
        home_option: `--home`, or None for the project's main one.
        build_option: where generated roots go, or None for the project's build/.
        verbose: whether more is told.
    """

    project_option: Path | None = None
    home_option: Path | None = None
    build_option: Path | None = None
    verbose: bool = False

    @property
    def project(self) -> Path:
        """The folder that holds mayfly.yaml.

        Raises:
            UsageError: there is none, here or above.
        """
        start = (self.project_option or Path.cwd()).resolve()
        searched = [start] if self.project_option else [start, *start.parents]
        for folder in searched:
            if (folder / DEPLOYMENT_FILE).is_file():
                return folder
        raise UsageError(
            f"{start} holds no {DEPLOYMENT_FILE}"
            + ("" if self.project_option else ", nor does a folder above it")
            + ". Go to a Mayfly project, or name one with --project."
        )

    @property
    def home(self) -> Home:
        """The runtime folder."""
        return Home(folder=self.home_option.resolve() if self.home_option else self.project / RUNTIME / "main")

    @property
    def images(self) -> Path:
        """The image store, shared by all homes of a project."""
        return self.project / RUNTIME / "images"

    @property
    def terraform_cache(self) -> Path:
        """Terraform's configuration and prepared provider, shared by all homes of a project."""
        return self.project / RUNTIME / "terraform"

    @property
    def build(self) -> Path:
        """Where generated roots are written."""
        return self.build_option or self.project / "build"

    def platform(self, *, ask_aws: bool = False) -> Platform:
        """Read and check the YAML files of the project, and find what was applied and is described no more.

        Args:
            ask_aws: look for that in the states on AWS; else the generated roots of this clone are asked there.

        Raises:
            SourcesError: all that is wrong with them.
        """
        platform = load_platform(self.project)
        cloud = self.cloud(platform) if ask_aws and not self.is_embedded(platform) else None
        retired = find_retired(platform, self.backend(platform), build=self.build, cloud=cloud)
        return replace(platform, retired=retired)

    def is_embedded(self, platform: Platform) -> bool:
        """Whether the deployment's cloud is the one embedded in this machine."""
        return platform.deployment.cloud is CloudKind.EMBEDDED

    def settings(self, platform: Platform) -> CloudSettings:
        """Return how the deployment's cloud is reached.

        Raises:
            StateError: the embedded cloud does not run.
        """
        deployment = platform.deployment
        if not self.is_embedded(platform):
            return CloudSettings(region=deployment.region, account=deployment.account)
        if not self.home.is_locked():
            raise StateError(f"No embedded cloud runs in {self.home.folder}. Start it with `mayfly up`.")
        return CloudSettings.from_file(self.home.cloud_file)

    def cloud(self, platform: Platform) -> AwsCloud:
        """Open the deployment's cloud."""
        return AwsCloud(self.settings(platform))

    def backend(self, platform: Platform) -> Backend:
        """Return where Terraform keeps the state of the platform's roots.

        Raises:
            UsageError: a deployment on AWS names no bucket for it.
        """
        deployment = platform.deployment
        if self.is_embedded(platform):
            return LocalBackend(folder=self.home.state)
        if not deployment.state.bucket:
            raise UsageError(
                f"{deployment.place}: state.bucket: a deployment on AWS keeps Terraform's state in a bucket."
            )
        return S3Backend(bucket=deployment.state.bucket, region=deployment.region)

    @property
    def database(self) -> str:
        """URL of the ledger: MAYFLY_DATABASE_URL, or a file of this home."""
        return os.environ.get("MAYFLY_DATABASE_URL") or sqlite_url(self.home.ledger)

    def ledger(self) -> Ledger:
        """Open the ledger of this home.

        Raises:
            StateError: nothing ran here yet, or a newer Mayfly did.
        """
        if self.database.startswith("sqlite") and not self.home.ledger.exists():
            raise StateError(f"Nothing ran in {self.home.folder} yet: there is no ledger. Start with `mayfly up`.")
        return open_ledger(self.database)

    def ledger_made(self) -> Ledger:
        """Open the ledger of this home, made if need be: for who has just started what writes in it."""
        self.home.folder.mkdir(parents=True, exist_ok=True)
        return open_ledger(self.database)
