"""Terraform's plan JSON for tests, as `terraform show -json` writes it."""

from __future__ import annotations

import json
from typing import Any

from compiler.review.values import JSON, RootPlan, read_plan

ACTIONS = {"create": ["create"], "update": ["update"], "delete": ["delete"], "replace": ["delete", "create"]}


def a_change(kind: str, name: str = "data", action: str = "create", **parts: Any) -> JSON:
    """Return one resource change; `before` and `after` are attributes, `forces` what forces a replacement."""
    address = parts.pop("address", f"module.m.{kind}.{name}")
    return {
        "address": address,
        "module_address": "module.m",
        "mode": "managed",
        "type": kind,
        "name": name,
        **({"previous_address": parts["previous"]} if "previous" in parts else {}),
        "change": {
            "actions": ACTIONS.get(action, [action]),
            "before": parts.get("before"),
            "after": parts.get("after"),
            "after_unknown": parts.get("unknown", {}),
            "before_sensitive": parts.get("before_sensitive", False),
            "after_sensitive": parts.get("after_sensitive", False),
            "replace_paths": [[one] for one in parts.get("forces", ())],
        },
    }


def a_plan(*changes: JSON, root: str = "analyses/pca", drift: tuple[JSON, ...] = (), **more: Any) -> RootPlan:
    return read_plan(root, {"resource_changes": list(changes), "resource_drift": list(drift), **more})


def a_policy(actions: list[str] | str, resource: list[str] | str, **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def a_role_policy(policy: str | None, *, before: str | None = None, name: str = "user", role: str = "") -> JSON:
    role = role or "demo-group-lab1"
    sides = {
        side: {"name": "pca", "role": role, "policy": text}
        for side, text in (("before", before), ("after", policy))
        if text is not None
    }
    action = "update" if len(sides) == 2 else "create" if "after" in sides else "delete"
    return a_change("aws_iam_role_policy", name, action, **sides)
