"""`dataclass` with the words that Python 3.10 gave it, for code that runs inside instances, too, on 3.8 and newer."""

from __future__ import annotations

import sys

__all__ = ["dataclass"]

if sys.version_info >= (3, 10):
    from dataclasses import dataclass
else:
    import dataclasses
    from typing import Callable, TypeVar

    T = TypeVar("T")

    def dataclass(
        *, frozen: bool = False, order: bool = False, slots: bool = False, kw_only: bool = False
    ) -> Callable[[type[T]], type[T]]:
        """Make a dataclass without slots, whose fields may be given by position.

        The same code runs on newer Pythons, where both words hold: a caller that needs more than this is found there.
        """
        del slots, kw_only
        return dataclasses.dataclass(frozen=frozen, order=order)
