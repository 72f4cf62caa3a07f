"""Clients that have come back here, of which the log does not tell yet."""

import asyncio

import pytest

from gtower_realtime.cluster.returns import Returns
from gtower_realtime.cluster.units import Unit
from gtower_realtime.errors import StoreUnavailable

pytestmark = pytest.mark.gen_test


def a_unit(sequence: int) -> Unit:
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return Unit(sequence, (), "[]", "", None, lambda _: None, outcome, 0.0)


async def test_a_return_is_one_until_the_log_has_it() -> None:
    returns = Returns()
    returns.begin("ann", a_unit(7))
    assert ("ann" in returns, "ben" in returns) == (True, False)
    returns.had("ann", 7)
    assert "ann" not in returns


async def test_the_return_before_does_not_end_the_one_that_is_on_its_way() -> None:
    returns = Returns()
    returns.begin("ann", a_unit(7))
    returns.begin("ann", a_unit(9))
    returns.had("ann", 7)
    assert "ann" in returns


async def test_a_return_that_has_failed_is_none() -> None:
    returns = Returns()
    unit = a_unit(7)
    returns.begin("ann", unit)
    unit.fail(StoreUnavailable("The event store has failed."))
    await asyncio.sleep(0)
    assert "ann" not in returns


async def test_one_that_has_taken_effect_is_still_on_its_way() -> None:
    returns = Returns()
    unit = a_unit(7)
    returns.begin("ann", unit)
    unit.take_effect(70)
    await asyncio.sleep(0)
    assert "ann" in returns
