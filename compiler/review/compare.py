"""Two plans from nothing, of the code before and after, as one plan of what changes between them.

That is how a pull request is reviewed without an account: no state is read, so what is compared is what the two
versions of the code would make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from compiler.review.documents import BLOCKS, DOCUMENTS
from compiler.review.values import JSON, read_code, unknown_names, without_key

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """What the code sets of a resource, before and after; None when that is not told."""

    before: JSON | None
    after: JSON | None
    same: bool

    def may_differ(self, name: str) -> bool:
        """Whether an attribute that neither plan knows may have changed.

        A plan tells only what an attribute refers to: a word within a policy document can change without a trace. So
        a document that nobody can read counts as changed as soon as anything is. What the provider fills in does not.
        """
        if self.same:
            return False
        if self.before is None or self.after is None:
            return name in {*DOCUMENTS, *BLOCKS}
        if name in {*DOCUMENTS, *BLOCKS}:
            return name in self.before or name in self.after
        return bool(self.before.get(name) != self.after.get(name))


def compare_plans(before: JSON | None, after: JSON | None, *, same: bool = False, keep: bool = False) -> JSON:
    """Return the plan that leads from one to the other, in the form of `terraform show -json`.

    Args:
        before: the plan from nothing of the code before; None when there was none.
        after: that of the code after; None when there is none any more.
        same: whether the code and its values are the same in both.
        keep: whether what is described no more stays, and Terraform only lets go of it.
    """
    old, new = _planned(before), _planned(after)
    codes = read_code(before or {}), read_code(after or {})
    moves = {one["address"]: one["previous_address"] for one in new.values() if one.get("previous_address")}
    changes = []
    for address in sorted(new.keys() | (old.keys() - set(moves.values()))):
        previous = moves.get(address, address)
        code = _Code(before=codes[0].get(without_key(previous)), after=codes[1].get(without_key(address)), same=same)
        changes.append(_compare(old.get(previous), new.get(address), code, keep=keep))
    return {
        "resource_changes": [change for change in changes if change is not None],
        "configuration": (after or before or {}).get("configuration") or {},
    }


def _planned(plan: JSON | None) -> dict[str, JSON]:
    """Return the resources that a plan from nothing would make, by address."""
    rows = (plan or {}).get("resource_changes") or ()
    return {row["address"]: row for row in rows if row.get("mode") == "managed" and row["change"].get("after")}


def _compare(old: JSON | None, new: JSON | None, code: _Code, *, keep: bool) -> JSON | None:
    row = new or old
    if row is None:
        return None
    was, will = (one["change"] if one else {} for one in (old, new))
    before, after = was.get("after"), will.get("after")
    doubtful = unknown_names(was) & unknown_names(will)
    doubtful = frozenset(name for name in doubtful if code.may_differ(name))
    forces = [name for name in FORCING.get(row["type"], ()) if old and new and _known(was, name) != _known(will, name)]
    return {
        **{key: row[key] for key in ("address", "module_address", "mode", "type", "name", "index") if key in row},
        "change": {
            "actions": _actions(old, new, changed=before != after or bool(doubtful), forced=bool(forces), keep=keep),
            "before": before,
            "after": after,
            "before_sensitive": was.get("after_sensitive", False),
            "after_sensitive": will.get("after_sensitive", False),
            "after_unknown": _unknown(was, will, doubtful),
            "replace_paths": [[name] for name in forces],
        },
    }


def _actions(old: JSON | None, new: JSON | None, *, changed: bool, forced: bool, keep: bool) -> list[str]:
    if old is None:
        return ["create"]
    if new is None:
        return ["forget" if keep else "delete"]
    if forced:
        return ["delete", "create"]
    return ["update"] if changed else ["no-op"]


def _known(change: JSON, name: str) -> Any:  # noqa: ANN401 JSON
    return (change.get("after") or {}).get(name)


def _unknown(was: JSON, will: JSON, doubtful: frozenset[str]) -> JSON:
    """Return what is not known yet, without what was not known before either and cannot have changed."""
    before, after = (one.get("after_unknown") or {} for one in (was, will))
    return {name: mark for name, mark in after.items() if not was or name not in before or name in doubtful}
