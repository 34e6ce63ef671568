"""Who runs Terraform for a job: a lease beside Terraform's own lock, so that a lock left by the dead can be told."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from runner.failures import LOCK_FIELD
from runner.shop import Shop
from state.errors import TerraformError

LOCK_LEASE = timedelta(seconds=60)
"""A worker that runs Terraform says so every look; after this long without it counts as dead, and its lock as left."""


def say_at_work(shop: Shop, job_id: str) -> None:
    """Say that this worker runs Terraform for a job; to be said again well within `LOCK_LEASE`."""
    shop.leases.beat(_lease(job_id) + shop.name, shop.clock())


def say_done(shop: Shop, job_id: str) -> None:
    """Say that this worker runs Terraform for a job no more."""
    shop.leases.release(_lease(job_id) + shop.name)


def forget_all(shop: Shop, job_id: str) -> None:
    """Forget who has run Terraform for a job that is over."""
    shop.leases.release_all(_lease(job_id))


def others_at_work(shop: Shop, job_id: str, now: datetime) -> list[str]:
    """Return the workers, besides this one, that run Terraform for a job by their leases."""
    prefix = _lease(job_id)
    living = shop.leases.holders(now - LOCK_LEASE)
    return sorted(one.removeprefix(prefix) for one in living if one.startswith(prefix) and one != prefix + shop.name)


def find_lock(error: TerraformError) -> str | None:
    """Return the id of the lock that stopped a Terraform; None when it was no lock."""
    text = "\n".join(error.diagnostics)
    if "lock" not in text.lower():
        return None
    found = dict(LOCK_FIELD.findall(text)).get("ID") or next(iter(re.findall(r"\bID:\s+([0-9a-f-]{36})", text)), None)
    return str(found).split()[0] if found else None


def _lease(job_id: str) -> str:
    return f"terraform/{job_id}/"
