"""Two plans from nothing, of the code before and after, as one plan of what changes between them.

That is how a pull request is reviewed without an account: no state is read, so what is compared is what the two
versions of the code would make.
"""

from __future__ import annotations

from typing import Any, Final

from compiler.review.values import JSON

FORCING: Final = {
    "aws_s3_bucket": ("bucket",),
    "aws_iam_role": ("name",),
    "aws_iam_role_policy": ("name", "role"),
    "aws_iam_instance_profile": ("name",),
    "aws_sqs_queue": ("name", "fifo_queue"),
    "aws_cloudwatch_event_rule": ("name",),
    "aws_cloudwatch_event_target": ("rule", "target_id"),
    "aws_s3_bucket_versioning": ("bucket",),
    "aws_s3_bucket_policy": ("bucket",),
    "aws_budgets_budget": ("name", "account_id", "budget_type", "time_unit"),
}
"""Attributes whose change makes AWS's provider make a resource anew; nobody says so without a state."""


def compare_plans(before: JSON | None, after: JSON | None) -> JSON:
    """Return the plan that leads from one to the other, in the form of `terraform show -json`."""
    old, new = _planned(before), _planned(after)
    moves = {one["address"]: one["previous_address"] for one in new.values() if one.get("previous_address")}
    changes = [
        _compare(old.get(moves.get(address, address)), new.get(address))
        for address in sorted(new.keys() | (old.keys() - set(moves.values())))
    ]
    return {
        "resource_changes": [change for change in changes if change is not None],
        "configuration": (after or before or {}).get("configuration") or {},
    }


def _planned(plan: JSON | None) -> dict[str, JSON]:
    """Return the resources that a plan from nothing would make, by address."""
    rows = (plan or {}).get("resource_changes") or ()
    return {row["address"]: row for row in rows if row.get("mode") == "managed" and row["change"].get("after")}


def _compare(old: JSON | None, new: JSON | None) -> JSON | None:
    row = new or old
    if row is None:
        return None
    was, will = (one["change"] if one else {} for one in (old, new))
    before, after = was.get("after"), will.get("after")
    forces = [name for name in FORCING.get(row["type"], ()) if old and new and _known(was, name) != _known(will, name)]
    return {
        **{key: row[key] for key in ("address", "module_address", "mode", "type", "name", "index") if key in row},
        "change": {
            "actions": _actions(old, new, changed=before != after, forced=bool(forces)),
            "before": before,
            "after": after,
            "before_sensitive": was.get("after_sensitive", False),
            "after_sensitive": will.get("after_sensitive", False),
            "after_unknown": _unknown(was, will),
            "replace_paths": [[name] for name in forces],
        },
    }


def _actions(old: JSON | None, new: JSON | None, *, changed: bool, forced: bool) -> list[str]:
    if old is None:
        return ["create"]
    if new is None:
        return ["delete"]
    if forced:
        return ["delete", "create"]
    return ["update"] if changed else ["no-op"]


def _known(change: JSON, name: str) -> Any:  # noqa: ANN401 JSON
    return (change.get("after") or {}).get(name)


def _unknown(was: JSON, will: JSON) -> JSON:
    """Return what is not known yet; what was not known before either is the same as far as anybody can tell."""
    before, after = (one.get("after_unknown") or {} for one in (was, will))
    return {name: mark for name, mark in after.items() if not was or name not in before}
