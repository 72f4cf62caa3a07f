"""Runs a coroutine at once, as far as it goes without waiting; only one that waits gets a task.

Nearly every handler of an event ends without waiting for anything, and a task for each would cost
more than the event. (Python 3.12 has `asyncio.eager_task_factory`; this serves 3.11.)

Up to its first wait the coroutine runs inside whatever task runs now, so it must not use what
belongs to "the current task" before that, such as `asyncio.timeout`.
"""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

WhenDone = Callable[[Exception | None], None]

_tasks: set[asyncio.Task[None]] = set()


def start(coroutine: Coroutine[Any, Any, Any], when_done: WhenDone) -> bool:
    """Start ``coroutine``; return whether it has ended already.

    If it has not, a task carries on, and ``when_done`` is called once with its exception or None.

    Raises:
        Exception: what the coroutine raised before it waited for anything.
    """
    try:
        waited_for = coroutine.send(None)
    except StopIteration:
        return True
    task = asyncio.get_running_loop().create_task(_finish(coroutine, waited_for, when_done))
    _tasks.add(task)  # the loop itself keeps only a weak reference
    task.add_done_callback(_tasks.discard)
    return False


async def _finish(
    coroutine: Coroutine[Any, Any, Any], waited_for: Any, when_done: WhenDone
) -> None:
    problem: Exception | None = None
    try:
        await _carry_on(coroutine, waited_for)
    except Exception as raised:  # noqa: BLE001 - handed on to the one who asked
        problem = raised
    when_done(problem)


@types.coroutine
def _carry_on(coroutine: Coroutine[Any, Any, Any], waited_for: Any) -> Generator[Any, Any, Any]:
    """Wait for what the coroutine waits for, in its place, until it ends."""
    while True:
        try:
            arrived = yield waited_for
        except BaseException as thrown:  # noqa: BLE001 - a cancellation is the coroutine's as well
            resume = partial(coroutine.throw, thrown)
        else:
            resume = partial(coroutine.send, arrived)
        try:
            waited_for = resume()
        except StopIteration as end:
            return end.value
