"""Runs a coroutine at once, as far as it goes without waiting; only one that waits gets a task.

Nearly every handler of an event ends without waiting for anything, and a task for each would cost
more than the event. (Python 3.12 has `asyncio.eager_task_factory`; this serves 3.11.)

Up to its first wait the coroutine runs inside whatever task runs now, or none, so it must not use
what belongs to "the current task" before that, such as `asyncio.timeout`.
"""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

AnyCoroutine = Coroutine[Any, Any, Any]

WhenDone = Callable[[BaseException | None], None]


class EagerTasks:
    """Starts coroutines, and holds the tasks of those that have to wait."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: AnyCoroutine, when_done: WhenDone) -> bool:
        """Start ``coroutine``; return whether it has ended already.

        If it has not, a task carries on, and ``when_done`` is called once, with its exception or
        None; with a `CancelledError` when it was cancelled.

        Raises:
            BaseException: what the coroutine raised before it waited for anything.
        """
        try:
            waited_for = coroutine.send(None)
        except StopIteration:
            return True
        task = asyncio.get_running_loop().create_task(_resume(coroutine, waited_for))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(partial(self._done, when_done))
        return False

    async def finish(self, seconds: float) -> None:
        """Wait until no coroutine runs any more; after ``seconds``, cancel those that do."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, when_done: WhenDone, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        when_done(asyncio.CancelledError() if task.cancelled() else task.exception())


async def _resume(coroutine: AnyCoroutine, waited_for: Any) -> None:
    await carry_on(coroutine, waited_for)


@types.coroutine
def carry_on(coroutine: AnyCoroutine, waited_for: Any) -> Generator[Any, Any, Any]:
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
