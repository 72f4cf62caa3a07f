"""A limit of time for handlers that costs nothing for those that do not wait."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from gtower_realtime.engineio import eager
from gtower_realtime.logs import CLIENT_ID

Result = TypeVar("Result")


async def within(seconds: float, coroutine: Coroutine[Any, Any, Result], client_id: str) -> Result:
    """Return what ``coroutine`` returns, if that takes no longer than ``seconds``; 0 is no limit.

    It runs at once, inside of whatever task runs now, up to its first wait; only from there on
    time is counted. One that runs out of time is cancelled, and left alone if it resists. What it
    logs has ``client_id``.

    Raises:
        TimeoutError: the time is over.
    """
    # Not `asyncio.timeout`: it cancels the current task, which before the first wait may be
    # another's (see `engineio.eager`).
    before = CLIENT_ID.set(client_id)
    try:
        waited_for = coroutine.send(None)
        # Takes the context along; nothing else that runs here later may have it.
        rest = asyncio.get_running_loop().create_task(_rest_of(coroutine, waited_for))
    except StopIteration as end:
        return cast("Result", end.value)
    finally:
        CLIENT_ID.reset(before)
    try:
        finished, _ = await asyncio.wait({rest}, timeout=seconds or None)
    finally:
        rest.cancel()  # without effect on one that has finished
    if not finished:
        raise TimeoutError(f"not done within {seconds:g} seconds")
    return rest.result()


async def _rest_of(coroutine: Coroutine[Any, Any, Result], waited_for: Any) -> Result:
    return cast("Result", await eager.carry_on(coroutine, waited_for))
