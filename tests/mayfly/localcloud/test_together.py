"""What many want done at once is done for all of them, and for nobody too early."""

from __future__ import annotations

import asyncio

from mayfly.localcloud.together import Together


def test_those_who_come_meanwhile_share_the_next_doing() -> None:
    async def scene() -> list[int]:
        state, seen, gate = 0, [], asyncio.Event()

        async def act() -> None:
            seen.append(state)
            await gate.wait()

        together = Together(act)

        async def change() -> None:
            nonlocal state
            state += 1
            mine = state
            await together()
            assert max(seen) >= mine, "it returned before what it changed was seen"

        first = asyncio.create_task(change())
        await asyncio.sleep(0)
        others = [asyncio.create_task(change()) for _ in range(20)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *others)
        return seen

    assert asyncio.run(scene()) == [1, 21]


def test_an_error_is_told_to_one_and_the_others_try_themselves() -> None:
    async def scene() -> tuple[list[object], int]:
        tries = 0

        async def act() -> None:
            nonlocal tries
            tries += 1
            await asyncio.sleep(0)
            if tries == 1:
                raise OSError("the disk is full")

        together = Together(act)
        return await asyncio.gather(together(), together(), return_exceptions=True), tries

    told, tries = asyncio.run(scene())
    assert [type(one) for one in told] == [OSError, type(None)]
    assert tries == 2


def test_one_after_the_other_is_done_each_time() -> None:
    async def scene() -> int:
        done = 0

        async def act() -> None:
            nonlocal done
            done += 1

        together = Together(act)
        for _ in range(3):
            await together()
        return done

    assert asyncio.run(scene()) == 3
