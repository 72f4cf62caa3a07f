"""Futures made of other futures."""

import asyncio

import pytest

from gtower_realtime.futures import mapped

pytestmark = pytest.mark.gen_test


def a_future() -> "asyncio.Future[int]":
    return asyncio.get_running_loop().create_future()


def fail(_value: int) -> int:
    raise ValueError("no")


async def test_a_mapped_future_has_what_the_function_makes_of_the_result() -> None:
    future = a_future()
    outcome = mapped(future, str)
    future.set_result(5)
    assert await outcome == "5"


async def test_a_future_that_is_done_already_is_mapped() -> None:
    future = a_future()
    future.set_result(5)
    assert await mapped(future, str) == "5"


async def test_it_fails_as_the_other_does() -> None:
    future = a_future()
    outcome = mapped(future, str)
    future.set_exception(KeyError("gone"))
    with pytest.raises(KeyError, match="gone"):
        await outcome


async def test_it_fails_as_the_function_does() -> None:
    future = a_future()
    outcome = mapped(future, fail)
    future.set_result(5)
    with pytest.raises(ValueError, match="no"):
        await outcome


async def test_it_is_cancelled_when_the_other_is() -> None:
    future = a_future()
    outcome = mapped(future, str)
    future.cancel()
    await asyncio.wait([outcome])
    assert outcome.cancelled()


async def test_cancelling_it_leaves_the_other_alone() -> None:
    future = a_future()
    outcome = mapped(future, fail)
    outcome.cancel()
    future.set_result(5)
    await asyncio.wait([outcome])
    assert future.result() == 5


async def test_a_failure_that_nobody_waits_for_any_more_is_no_complaint() -> None:
    complaints: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    future = a_future()
    outcome = mapped(future, str)
    outcome.cancel()
    future.set_exception(KeyError("gone"))
    await asyncio.wait([outcome, future])
    del future, outcome
    assert complaints == []
