"""The memory budget: what fits, what waits, what is refused, and what it learns from measurements."""

from __future__ import annotations

import asyncio

import pytest
from fake_loader import settle

from manager.memory_budget import MemoryBudget
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId

A, B, C = (ServableId(name, 1) for name in "abc")


async def loaded(budget: MemoryBudget, servable: ServableId, size: int, measured: int | None = None) -> None:
    await budget.reserve(servable, size)
    budget.loaded(servable, measured)


def test_without_a_limit_everything_fits_and_is_counted() -> None:
    async def work() -> None:
        budget = MemoryBudget(0)
        await loaded(budget, A, 1 << 60)
        await loaded(budget, B, 1 << 60)
        assert (budget.reserved, budget.share(A), budget.share(C)) == (2 << 60, 1 << 60, 0)

    asyncio.run(work())


def test_up_to_the_limit_and_no_further() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await loaded(budget, A, 60)
        await loaded(budget, B, 40)
        with pytest.raises(ServingError) as caught:
            await budget.reserve(C, 1)
        assert (caught.value.code, caught.value.message) == (
            Code.RESOURCE_EXHAUSTED,
            "Insufficient resources to load servable {name: c version: 1}: it needs some 1 bytes, and of "
            "--total_model_memory_limit_bytes=100 100 are taken",
        )
        assert (budget.reserved, budget.share(C)) == (100, 0)
        await budget.reserve(C, 0)  # what takes nothing always fits

    asyncio.run(work())


def test_it_waits_while_loads_are_under_way_and_refuses_when_none_is_left() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(A, 60)
        await budget.reserve(B, 40)
        waiting = asyncio.ensure_future(budget.reserve(C, 50))
        await settle()
        budget.loaded(A, None)  # one that went well gives nothing back
        await settle()
        assert not waiting.done()
        budget.loaded(B, None)
        with pytest.raises(ServingError, match="Insufficient resources"):
            await waiting

    asyncio.run(work())


@pytest.mark.parametrize("how", ["a load that fails", "an unload that ends"])
def test_it_waits_for_what_comes_back_from(how: str) -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(A, 60)
        if how == "an unload that ends":
            budget.loaded(A, None)
            budget.unloading()
        waiting = asyncio.ensure_future(budget.reserve(C, 50))
        await settle()
        assert not waiting.done()
        budget.free(A)
        await waiting
        assert (budget.reserved, budget.share(A)) == (50, 0)
        budget.free(C)
        assert budget.reserved == 0

    asyncio.run(work())


def test_one_that_fits_need_not_wait_for_one_that_does_not() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(A, 60)
        large = asyncio.ensure_future(budget.reserve(B, 100))
        await settle()
        await asyncio.wait_for(budget.reserve(C, 10), 5)
        budget.free(A)
        await settle()
        assert not large.done()
        budget.free(C)
        await large

    asyncio.run(work())


def test_those_that_wait_have_their_turns_in_the_order_they_came() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(A, 60)
        first = asyncio.ensure_future(budget.reserve(B, 80))
        second = asyncio.ensure_future(budget.reserve(C, 70))
        await settle()
        budget.free(A)
        await settle()
        assert (first.done(), second.done()) == (True, False)
        budget.free(B)
        await second

    asyncio.run(work())


def test_one_that_gives_up_waiting_holds_up_no_other() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(A, 60)
        given_up = asyncio.ensure_future(budget.reserve(B, 100))
        small = asyncio.ensure_future(budget.reserve(C, 10))
        await settle()
        given_up.cancel()
        await small
        assert budget.reserved == 70

    asyncio.run(work())


@pytest.mark.parametrize(
    ("measured", "share", "following"),
    [
        pytest.param(None, 100, 200, id="nothing was measured"),
        pytest.param(150, 150, 300, id="more than estimated"),
        pytest.param(50, 50, 100, id="less"),
        pytest.param(0, 25, 50, id="less than is believed"),
        pytest.param(100_000, 1000, 2000, id="more than is believed"),
    ],
)
def test_a_measurement_corrects_the_share_and_the_next_version_of_this_servable(
    measured: int | None, share: int, following: int
) -> None:
    async def work() -> None:
        budget = MemoryBudget(0)
        await loaded(budget, A, 100, measured)
        await loaded(budget, B, 100)
        assert (budget.share(A), budget.share(B)) == (share, 100)
        second = ServableId(A.name, 2)
        await budget.reserve(second, 200)
        assert budget.share(second) == following
        budget.free(A)
        budget.free(second)
        assert budget.reserved == 100

    asyncio.run(work())


def test_a_measurement_without_an_estimate_is_of_no_use() -> None:
    async def work() -> None:
        budget = MemoryBudget(10)
        await loaded(budget, A, 0, 5)
        assert budget.reserved == 0

    asyncio.run(work())
