"""The provider lock that a project commits: which AWS provider plans and applies its roots, on every machine.

It binds on AWS. The embedded cloud works with any provider that the modules are written for, so that whoever tries
Mayfly needs no certain one.
"""

from __future__ import annotations

import re

from compiler.deployment import CloudKind
from compiler.model import Platform
from compiler.module import read_provider_lock


def binding_lock(platform: Platform) -> str:
    """Return the text of the lock that Terraform is held to; empty when it may take what there is."""
    on_aws = platform.deployment.cloud is CloudKind.AWS
    return read_provider_lock(platform.project) if on_aws else ""


def locked_version(lock: str, host: str) -> str:
    """Return the version of the AWS provider of a registry that a lock names; empty when it names none."""
    block = re.search(rf'^provider "{re.escape(host)}/hashicorp/aws" {{\n(.*?)^}}', lock, re.MULTILINE | re.DOTALL)
    version = re.search(r'^ *version *= *"([^"]+)"', block[1], re.MULTILINE) if block else None
    return version[1] if version else ""
