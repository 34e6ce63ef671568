"""Open what commands work with: the cloud (started for the moment when need be), Terraform, generated roots, images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from compiler import names
from compiler.blueprint import Stage
from compiler.model import Platform
from compiler.platform import render_platform
from compiler.tree import Changes, write_tree
from mayfly.cli.context import Context
from mayfly.cli.deploy import Deploy
from mayfly.cli.output import note
from mayfly.localcloud import LocalCloud
from runner.cloud import AwsCloud
from runner.cloud_values import Cloud
from runner.image_source import MachineImage, choose_builder
from runner.provider_lock import binding_lock
from runner.slots import Slots
from runner.terraform import Terraform
from runner.toolchain import Toolchain, find_toolchain


@contextmanager
def cloud_for(context: Context, platform: Platform) -> Iterator[AwsCloud]:
    """Give the deployment's cloud. An embedded one that does not run is started, and stopped afterwards."""
    if not context.is_embedded(platform) or context.home.is_locked():
        yield context.cloud(platform)
        return
    with context.home.locked(), start_cloud(context, platform) as local:
        yield AwsCloud(local.settings)


def start_cloud(context: Context, platform: Platform) -> LocalCloud:
    """Start the embedded cloud of a home, as the account and the region that the deployment says."""
    deployment = platform.deployment
    home, images = context.home.cloud, context.images
    return LocalCloud.start(home, images, account=deployment.account, region=deployment.region)


def deployer(context: Context, platform: Platform, cloud: AwsCloud, toolchain: Toolchain | None = None) -> Deploy:
    """Return what plans and applies the platform's roots, with a Terraform that was found already or is found now.

    Raises:
        EnvironmentMissingError: there is no Terraform to be had.
    """
    return Deploy(
        platform=platform,
        build=context.build,
        logs=context.home.logs,
        terraform=terraform_for(context, cloud, toolchain or toolchain_of(context, platform)),
        backend=context.backend(platform),
        cloud=cloud,
    )


def toolchain_of(context: Context, platform: Platform) -> Toolchain:
    """Return the Terraform that this machine has, with the provider that the platform's lock names.

    Raises:
        EnvironmentMissingError: there is none to be had, or only one that is too old.
    """
    return find_toolchain(context.terraform_cache, os.environ, tell=note, lock=binding_lock(platform))


def terraform_for(context: Context, cloud: AwsCloud, toolchain: Toolchain) -> Terraform:
    """Return a Terraform that talks to a cloud."""
    return Terraform(toolchain, cloud.settings.environment(), Slots(context.terraform_cache / "slots"))


def generate(context: Context, platform: Platform) -> Changes:
    """Write the generated roots. Return the files that changed."""
    return write_tree(context.build, render_platform(platform))


def provide_images(
    context: Context, platform: Platform, cloud: Cloud, on_progress: Callable[[str], None]
) -> dict[str, MachineImage]:
    """Build and register the environment of every analysis but drafts; what is there already is left alone."""
    builder = choose_builder(platform.deployment.cloud, store=context.images, registry=cloud)
    provided = {}
    for name, one in platform.blueprints.items():
        if one.stage is Stage.DRAFT:
            continue
        recipe = platform.project / "blueprints" / name / one.environment.recipe
        tell = partial(_tell, on_progress, name)
        provided[name] = builder.provide(recipe, one.environment.image, platform.deployment.region, tell)
    return provided


def _tell(on_progress: Callable[[str], None], name: str, text: str) -> None:
    on_progress(f"{name}: {text}")


def group_cloud(platform: Platform, cloud: AwsCloud, group: str) -> AwsCloud:
    """Return the cloud as the people of a group see it: their role's short-lived credentials, and no more rights.

    Raises:
        CloudError: this person may not act for the group.
    """
    deployment = platform.deployment
    role = names.role_arn(deployment.region, deployment.account, names.user_role(deployment.name, group))
    return AwsCloud(cloud.assume_group(role, "mayfly-cli"))
