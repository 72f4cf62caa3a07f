"""What asyncio leaves out about futures."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")


def mapped(
    future: "asyncio.Future[Value]", function: Callable[[Value], Result]
) -> "asyncio.Future[Result]":
    """Return a future of ``function`` applied to what ``future`` has.

    It fails as ``future`` or ``function`` fails, and is cancelled when ``future`` is. Cancelling it
    does not cancel ``future``.
    """
    outcome: asyncio.Future[Result] = future.get_loop().create_future()

    def settle(settled: "asyncio.Future[Value]") -> None:
        if settled.cancelled():
            outcome.cancel()
            return
        problem = settled.exception()
        if outcome.done():
            return
        if problem is not None:
            outcome.set_exception(problem)
            return
        try:
            outcome.set_result(function(settled.result()))
        except Exception as fault:  # noqa: BLE001 - told to the one who waits
            outcome.set_exception(fault)

    future.add_done_callback(settle)
    return outcome
