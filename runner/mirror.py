"""Where the AWS provider comes from: a folder on this machine that holds it, else the registry."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.hcl import PROVIDER_BEFORE, PROVIDER_FROM
from state.errors import EnvironmentMissingError
from state.files import write_whole

REGISTRIES = {"terraform": "registry.terraform.io", "opentofu": "registry.opentofu.org"}
"""Where each product looks for `hashicorp/aws`; the provider itself is the same."""
VERSION = re.compile(r"^\d+\.\d+\.\d+$")
ZIP = re.compile(r"^terraform-provider-aws_(?P<version>[^_]+)_(?P<platform>[a-z0-9]+_[a-z0-9]+)\.zip$")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSource:
    """The AWS provider, found on this machine.

    Attributes:
        mirror: the folder that `registry.terraform.io/…` lies in.
        path: the unpacked folder, or the zip file.
        version: for example `5.100.0`.
    """

    mirror: Path
    path: Path
    version: str


def platform_name() -> str:
    """Return this machine as Terraform names it, for example `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{sys.platform}_{MACHINES.get(machine, machine)}"


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version; what follows a hyphen does not count."""
    return tuple(int(n) for n in re.findall(r"\d+", text.split("-", 1)[0]))


def find_provider(env: Mapping[str, str], *, machine: Path = Path("/"), version: str = "") -> ProviderSource | None:
    """Return the newest acceptable AWS provider in the usual folders; None when there is none.

    Args:
        env: the environment; HOME, XDG_DATA_HOME, XDG_DATA_DIRS and TF_PLUGIN_CACHE_DIR say where to look.
        machine: the root of the file system.
        version: no other one; empty for any.
    """
    found = [source for folder in _mirrors(env, machine) for source in _providers(folder)]
    found = [source for source in found if version in ("", source.version)]
    return max(found, key=lambda source: parse_version(source.version), default=None)


def _mirrors(env: Mapping[str, str], machine: Path) -> Iterator[Path]:
    """Yield the folders where Terraform itself, its packages and administrators put providers, best first."""
    home = env.get("HOME", "")
    data = env.get("XDG_DATA_HOME") or (f"{home}/.local/share" if home else "")
    if home:
        yield Path(home, ".terraform.d", "plugins")
    if data:
        yield Path(data, "terraform", "plugins")
        yield Path(data, "opentofu", "plugins")
    for folder in (env.get("XDG_DATA_DIRS") or f"{machine}/usr/local/share:{machine}/usr/share").split(":"):
        if folder:
            yield Path(folder, "terraform", "plugins")
    yield machine / "usr/share/terraform/plugins"
    yield machine / "usr/local/share/terraform/plugins"
    if env.get("TF_PLUGIN_CACHE_DIR"):
        yield Path(env["TF_PLUGIN_CACHE_DIR"])
    if home:
        yield Path(home, ".terraform.d", "plugin-cache")
    for host in REGISTRIES.values():
        yield from sorted(found.parent for found in machine.glob(f"opt/*/{host}"))


def _providers(mirror: Path) -> Iterator[ProviderSource]:
    """Yield the acceptable AWS providers of a mirror, unpacked ones first."""
    for host in REGISTRIES.values():
        folder = mirror / host / "hashicorp" / "aws"
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            unpacked = entry / platform_name()
            if is_acceptable(entry.name) and any(
                os.access(p, os.X_OK) for p in unpacked.glob("terraform-provider-aws_v*")
            ):
                yield ProviderSource(mirror=mirror, path=unpacked, version=entry.name)
        for entry in entries:
            parts = ZIP.match(entry.name)
            if parts and parts["platform"] == platform_name() and is_acceptable(parts["version"]):
                yield ProviderSource(mirror=mirror, path=entry, version=parts["version"])


def is_acceptable(version: str) -> bool:
    """Tell whether the modules are written for this version of the provider."""
    low, high = parse_version(PROVIDER_FROM), parse_version(PROVIDER_BEFORE)
    return bool(VERSION.match(version)) and low <= parse_version(version) < high


def write_config(cache: Path, product: str, source: ProviderSource | None, env: Mapping[str, str]) -> Path:
    """Write the CLI configuration that our Terraform runs with, and return its path.

    With a provider on this machine it is served from a mirror of ours that holds a link to just that version, under
    the registry's name of this product. Without one, a configuration of the person's own that says where providers
    come from is used as it is; else everything comes from the registry.

    Raises:
        EnvironmentMissingError: the cache cannot be written.
    """
    own = _own_config(env) if source is None else None
    if own is not None:
        return own
    config = cache / f"{product}.tfrc"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if source is None:
            replace_text(config, "disable_checkpoint = true\n")
        else:
            mirror = _link(cache / "mirror", REGISTRIES[product], source)
            replace_text(config, mirror_config(mirror, f"{REGISTRIES[product]}/hashicorp/aws"))
    except OSError as error:
        raise EnvironmentMissingError(
            f"{cache}: cannot be written ({error.strerror}). Free some space or make the folder writable."
        ) from error
    return config


def mirror_config(mirror: Path, address: str) -> str:
    """Return a CLI configuration that takes one provider from a mirror, and any other from its registry."""
    return (
        "disable_checkpoint = true\n\nprovider_installation {\n"
        f"  filesystem_mirror {{\n    path    = {quote(str(mirror))}\n    include = [{quote(address)}]\n  }}\n"
        f"  direct {{\n    exclude = [{quote(address)}]\n  }}\n}}\n"
    )


def quote(text: str) -> str:
    """Return an HCL string. A path may hold what HCL takes for a template."""
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def replace_text(path: Path, text: str) -> None:
    """Write a file in one step, unless it says that already: other processes may be reading it."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    write_whole(path, text)


def replace_link(link: Path, target: Path) -> None:
    """Make a symbolic link in one step, unless it leads there already."""
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def _link(mirrors: Path, host: str, source: ProviderSource) -> Path:
    """Make the mirror that holds this one version, and return its folder."""
    mirror = mirrors / source.version
    folder = mirror / host / "hashicorp" / "aws"
    if source.path.is_dir():
        replace_link(folder / source.version / source.path.name, source.path.resolve())
    else:
        replace_link(folder / source.path.name, source.path.resolve())
    return mirror


def _own_config(env: Mapping[str, str]) -> Path | None:
    """Return the person's CLI configuration if it exists and says where providers come from."""
    named = env.get("TF_CLI_CONFIG_FILE") or env.get("TERRAFORM_CONFIG")
    home = Path(env["HOME"]) if env.get("HOME") else None
    for path in [Path(named)] if named else [home / name for name in (".terraformrc", ".tofurc") if home]:
        try:
            if "provider_installation" in path.read_text(encoding="utf-8"):
                return path.resolve()
        except OSError:
            continue
    return None
