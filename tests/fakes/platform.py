"""Platforms for tests of the runner: values as the compiler makes them, without files."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from compiler.blueprint import Access, Blueprint, Choice, Environment, Inputs, Limits, Stage
from compiler.deployment import CloudKind, Deployment
from compiler.model import Platform
from compiler.parameters import complete_schema
from compiler.profile import Group, Member
from state.errors import Place

PARAMETERS = complete_schema(
    {
        "properties": {
            "n_components": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 2},
            "whiten": {"type": "boolean", "default": False},
            "solver": {"enum": ["full", "arpack"], "default": "full"},
            "filter": {
                "type": "object",
                "properties": {
                    "low": {"type": "number", "exclusiveMinimum": 0},
                    "order": {"type": "integer", "default": 4},
                },
                "required": ["low"],
                "additionalProperties": False,
            },
        }
    }
)


def a_blueprint(**changes: Any) -> Blueprint:
    """Return the analysis `pca`: .npy files and folders up to 1 GB, at most 3 of them, on two kinds of machine."""
    made = Blueprint(
        id="pca",
        title="Principal components",
        stage=Stage.PUBLIC,
        resources=(Choice(instance_type="m5.large", volume_gb=20), Choice(instance_type="m5.xlarge", volume_gb=30)),
        environment=Environment(image={"us-east-1": "ami-baked"}),
        limits=Limits(duration_s=600, max_duration_s=7200, instances=3, cost=Decimal(5)),
        inputs=Inputs(suffixes=(".npy",), folders=True, max_bytes=10**9),
        parameters=PARAMETERS,
        place=Place(file="blueprints/pca/blueprint.yaml"),
    )
    return replace(made, **changes)


def a_platform(*blueprints: Blueprint, cloud: CloudKind = CloudKind.EMBEDDED) -> Platform:
    """Return a platform with these blueprints (else `pca`); lab1 opted in to all of them, lab2 to none."""
    known = {blueprint.id: blueprint for blueprint in blueprints or (a_blueprint(),)}
    place = Place(file="users/lab.yaml")
    opted = Group(
        id="lab1", title="One", place=place, members=(Member(name="A", email="a@x.org"),), analyses=tuple(known)
    )
    return Platform(
        project=Path("/nowhere"),
        deployment=Deployment(name="demo", account="1" * 12, region="us-east-1", place=place, cloud=cloud),
        blueprints=known,
        groups={"lab1": opted, "lab2": Group(id="lab2", title="Two", place=place)},
    )


PRIVATE = {"stage": Stage.PRIVATE, "access": Access(groups=("lab9",))}
