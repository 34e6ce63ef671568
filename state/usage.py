"""What a job used and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.0001")
"""Money is kept to a hundredth of a cent: a second of the smallest machine costs about 0.000003 USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One instance's use, settled once when its job ends.

    Attributes:
        job: job id.
        task: number of the task.
        instance: EC2 instance id.
        instance_type: EC2's name.
        spot: whether it was bought at the Save price.
        hourly_price: USD per hour.
        start: when EC2 launched it, UTC.
        end: when it was gone, UTC.
    """

    job: str
    task: int
    instance: str
    instance_type: str
    spot: bool
    hourly_price: Decimal
    start: datetime
    end: datetime

    @property
    def seconds(self) -> Decimal:
        """Seconds it was billed for, never negative: clocks of two machines may differ.

        In UTC: two times of one zone are subtracted as its wall clock shows them, an hour off when that was changed.
        """
        passed = self.end.astimezone(UTC) - self.start.astimezone(UTC)
        return max(Decimal(0), Decimal(str(passed.total_seconds())))

    @property
    def cost(self) -> Decimal:
        """USD, price times time."""
        return cost(self.hourly_price, self.seconds)


def cost(hourly_price: Decimal, seconds: Decimal | int, count: int = 1) -> Decimal:
    """Return what `count` machines cost for `seconds` each, USD."""
    return (hourly_price * Decimal(seconds) * count / 3600).quantize(CENT, rounding=ROUND_HALF_UP)
