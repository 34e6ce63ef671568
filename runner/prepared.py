"""The provider, made ready once: what `init` would give every workspace, linked instead of made anew."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.hcl import PROVIDER_BEFORE, PROVIDER_FROM, REQUIRED_PROVIDER
from runner.mirror import REGISTRIES, mirror_config, replace_link, replace_text
from runner.toolchain import Toolchain
from state.errors import EnvironmentMissingError, TerraformError
from state.files import hold

LOCK_NAME, CONFIG_NAME = ".terraform.lock.hcl", "terraform.tfrc"
REACH_S = 5.0
"""How long the registry may take to answer, seconds. Terraform itself would try for minutes."""
NEEDS = f"""terraform {{
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = "{REQUIRED_PROVIDER}"
    }}
  }}
}}
"""
WAY_OUT = (
    f"Connect this machine to the network once, or put the provider ({PROVIDER_FROM} or later, before "
    f"{PROVIDER_BEFORE}) into ~/.terraform.d/plugins/registry.terraform.io/hashicorp/aws/, as a zip file or unpacked."
)
LOCK_WAY_OUT = (
    "The project's provider lock may lack the checksums of this kind of machine: `terraform providers lock "
    "-platform=…` adds them (docs/aws-setup.md)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An initialised folder.

    Attributes:
        lock: text of its provider lock.
        config: CLI configuration that serves this very provider, so that no later `init` asks a registry.
        links: path under `.terraform/providers` to the real folder of the provider.
    """

    lock: str
    config: Path
    links: tuple[tuple[Path, Path], ...]

    def link_into(self, root: Path) -> None:
        """Give a root the provider and the lock. Safe beside others that do the same, and when repeated.

        A lock that names another version is replaced: a workspace outlives an upgrade of the provider, and must
        still be destroyed. One that says all that ours says, and has the checksums of other machines beside, stays.
        """
        for path, target in self.links:
            replace_link(root / ".terraform" / "providers" / path, target)
        lock = root / LOCK_NAME
        if not (lock.is_file() and _says_all_of(lock.read_text(encoding="utf-8"), self.lock)):
            replace_text(lock, self.lock)


def _says_all_of(text: str, other: str) -> bool:
    """Whether each statement of a lock stands in another, too: its version, its constraints, its checksums."""
    said = {line.strip() for line in text.splitlines()}
    return all(line.strip() in said for line in other.splitlines() if not line.startswith("#"))


def prepare_provider(toolchain: Toolchain, init: Callable[[Path], None]) -> Prepared:
    """Return the prepared provider of a toolchain; the first to ask makes it, others wait for that.

    Args:
        toolchain: says which product and where its provider comes from.
        init: runs `terraform init` in a folder.

    Raises:
        EnvironmentMissingError: there is no provider on this machine and no registry within reach.
    """
    folder = _folder(toolchain)
    prepared = find_prepared(toolchain)
    if prepared is not None:
        return prepared
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold(folder.parent / "lock"):
            prepared = _read(folder)
            if prepared is None:
                _make(folder, toolchain, init)
                prepared = _read(folder)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise EnvironmentMissingError(
            f"{folder}: the provider cannot be prepared ({why}). Free some space or make the folder writable."
        ) from error
    if prepared is None:
        raise EnvironmentMissingError(f"{folder}: Terraform prepared no provider. {WAY_OUT}")
    return prepared


def find_prepared(toolchain: Toolchain) -> Prepared | None:
    """Return the prepared provider of a toolchain; None when there is none yet."""
    return _read(_folder(toolchain))


def _folder(toolchain: Toolchain) -> Path:
    name = f"{toolchain.product}-{toolchain.provider or 'registry'}"
    locked = f"-{hashlib.sha256(toolchain.lock.encode()).hexdigest()[:8]}" if toolchain.lock else ""
    return toolchain.cache / "prepared" / f"{name}{locked}"


def check_reach(host: str, *, timeout_s: float = REACH_S) -> str:
    """Return why a registry cannot be reached; empty when it can. Proxies of the environment are used.

    The question is asked from a thread of its own, because looking up a name obeys no timeout.
    """
    thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    asked = thread.submit(_ask, f"https://{host}/.well-known/terraform.json", timeout_s)
    try:
        return asked.result(timeout_s + 1)
    except concurrent.futures.TimeoutError:
        return "no answer"
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _ask(url: str, timeout_s: float) -> str:
    """Fetch a page; return why that failed."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310 - https, fixed hosts
            return ""
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def _make(folder: Path, toolchain: Toolchain, init: Callable[[Path], None]) -> None:
    """Initialise a folder beside the final one and rename it."""
    host = REGISTRIES[toolchain.product]
    if toolchain.mirror is None and toolchain.config.parent == toolchain.cache:
        why = check_reach(host)
        if why:
            raise EnvironmentMissingError(
                f"No AWS provider for Terraform on this machine, and {host} cannot be reached ({why}). {WAY_OUT}"
            )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as temporary:
        new = Path(temporary, "root")
        new.mkdir()
        (new / "versions.tf").write_text(NEEDS, encoding="utf-8")
        if toolchain.lock:  # `init` takes the version that it names, and holds it to the checksums
            (new / LOCK_NAME).write_text(toolchain.lock, encoding="utf-8")
        try:
            init(new)
        except TerraformError as error:
            why = error.diagnostics[0] if error.diagnostics else str(error)
            way_out = LOCK_WAY_OUT if toolchain.lock else WAY_OUT
            raise EnvironmentMissingError(f"The AWS provider cannot be prepared: {why} {way_out}") from error
        address = f"{host}/hashicorp/aws"
        (new / CONFIG_NAME).write_text(mirror_config(folder / ".terraform" / "providers", address), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)  # noqa: PTH105 - same file system, one step


def _read(folder: Path) -> Prepared | None:
    """Return what is prepared in a folder; None when that is nothing, or leads to a provider that is gone."""
    providers = folder / ".terraform" / "providers"
    leaves = list(providers.glob("*/hashicorp/aws/*/*"))
    if not leaves or not all(any(leaf.glob("terraform-provider-aws_v*")) for leaf in leaves):
        return None
    try:
        lock = (folder / LOCK_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if not (folder / CONFIG_NAME).is_file():
        return None
    return Prepared(
        lock=lock,
        config=folder / CONFIG_NAME,
        links=tuple((leaf.relative_to(providers), leaf.resolve()) for leaf in leaves),
    )
