"""What asyncio leaves out about futures."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

_CANCEL_AGAIN_SECONDS = 0.1

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


async def cancelled(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel tasks, and return when they have ended.

    Python 3.11's `asyncio.wait_for`, which redis-py sends through, swallows a cancellation when
    what it waits for is done in the same turn of the loop; so they are cancelled until they end.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
