"""Every rule that `mayfly check` holds a project to, by the id that `--json` and SARIF carry."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

RULES: Final = MappingProxyType(
    {
        "source": "A source file is wrong in a way that has no rule of its own.",
        # reading
        "file": "Every source is a regular, readable file of at most 1 MB, at the place where it is looked for.",
        "encoding": "Source files are UTF-8 without NUL.",
        "yaml": "Source files are YAML.",
        "plain-yaml": "One document of mappings, lists and scalars: no anchors, aliases or tags, at most 40 levels.",
        "duplicate-key": "A key stands once in its mapping.",
        # the schema
        "missing-key": "Keys that are required are there.",
        "unknown-key": "Only known keys are there.",
        "wrong-type": "Values have the type that the schema says.",
        "wrong-value": "Values keep to the bounds, patterns and lists of the schema.",
        # ids and names
        "id-place": "An id is the name of its folder or file.",
        "id-reserved": "The ids `platform` and `mayfly` are the platform's own.",
        "id-changed": "An id of the last release is still there, or named by `renamed_from`.",
        "name-length": "Names made of ids keep to AWS's limits.",
        "bucket": "A bucket has one owner and a name that S3 allows.",
        "policy-size": "The policies of a role fit into what IAM allows.",
        # deployment
        "deployment": "What mayfly.yaml says fits together.",
        "region": "Regions exist.",
        "public-address": "On AWS it is said whether machines get a public address.",
        "provider-lock": "On AWS a lock says which provider plans, on every machine.",
        "quota": "What is made fits into what an account of AWS has by default.",
        # machines
        "machine": "Instance types exist.",
        "machine-price": "The price of every machine is known, so that cost can be bounded.",
        "machine-retired": "Machines are of a family that AWS keeps.",
        "machine-architecture": "Machines have the architecture of the image.",
        "machine-gpus": "Machines have the GPUs that are counted on.",
        "machine-place": "Machines are offered in their region, and zones belong to it.",
        "machine-twice": "A machine is listed once.",
        "volume": "Volumes keep to the limits of their type.",
        # one analysis
        "limits": "Limits fit together.",
        "parameters": "The schema of the parameters is a schema that stands on its own.",
        "parameters-default": "Defaults and examples satisfy their own schema.",
        "parameters-reserved": "No parameter has a name that the platform reads itself.",
        "recipe": "The recipe has its lock file and its entry points, and no links.",
        "image": "There is an image for every region of the resource bank.",
        "protocol": "The settings of a protocol fit together, and the protocol can be run.",
        "retention": "Retention and archiving fit together.",
        # who may do what
        "access": "Who is admitted exists, and somebody is.",
        "analyses": "What a group opts in to exists and admits it.",
        "members": "A person belongs to one group, and each group has an owner.",
        "collaborators": "Collaborators are other groups.",
        "credentials": "An IAM user has a PGP key, and nobody else does.",
        # money
        "cost": "Limits and budgets cover at least one default task.",
    }
)
