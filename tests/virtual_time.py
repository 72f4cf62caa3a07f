"""A loop whose time passes only while nothing is to be done, and then at once."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):
    """Instead of waiting it moves the time of its loop on."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for something that nobody is going to do")
        if not ready and timeout is not None and timeout > 0:
            # A hair more, or adding up floats may never get there.
            self.time += timeout + 1e-6
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """What waits for a time gets it; what waits for ever is an error. Knows no threads."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return what the tests take for the monotonic time."""
        return self._clock.time


def run_virtually(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` to its end, and leave nothing behind."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
