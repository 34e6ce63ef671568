"""What Terraform's state knows of a job's machines, and how it is brought to agree with what the chronicle knows."""

from __future__ import annotations

from collections.abc import Iterable

from runner.shop import Shop
from runner.workspace import machines_in
from state.backend import S3Backend
from state.chronicle import Attempt, Tried
from state.job import Job

Known = dict[int, tuple[str, str]]
"""By the number of a task: its machine's address in the state, and its id."""


def machines(shop: Shop, job: Job, *, tainted: bool = False) -> Known:
    """Return the machines that Terraform's state knows, or, with `tainted`, those that it gave up on.

    A local state is a file: no Terraform is started for it.
    """
    root = shop.jobs / job.id
    if isinstance(shop.backend, S3Backend):
        return machines_in(shop.terraform.pull_state(root), tainted=tainted)
    path = root / "terraform.tfstate"
    return machines_in(path.read_text(encoding="utf-8"), tainted=tainted) if path.exists() else {}


def taken_back(shop: Shop, job: Job) -> set[str | None]:
    """Return the ids of the machines that AWS took back; others have their tasks now."""
    return {one.instance for one in shop.chronicle.attempts(job.id) if one.outcome is Tried.INTERRUPTED}


def forget_replaced(shop: Shop, job: Job, known: Known, wanting: Iterable[Attempt]) -> Known:
    """Take machines that were taken back out of Terraform's state; return those that are left in it."""
    past, wanted = taken_back(shop, job), {one.task for one in wanting}
    gone = {number: one for number, one in known.items() if number in wanted and one[1] in past}
    if gone:
        shop.terraform.forget(shop.jobs / job.id, [address for address, _ in gone.values()])
    return {number: one for number, one in known.items() if number not in gone}


def accept_quick(shop: Shop, job: Job) -> None:
    """Let Terraform's state, too, take machines as they are that were done before it looked at them.

    To be called before another apply, not earlier: it takes a Terraform for each.
    """
    current = shop.chronicle.current(job.id)
    addresses = [
        address
        for task, (address, identity) in machines(shop, job, tainted=True).items()
        if task in current and current[task].outcome is Tried.STARTED and current[task].instance == identity
    ]
    if addresses:
        shop.terraform.accept(shop.jobs / job.id, addresses)
