"""Those who wait until the log has come to a number."""

import asyncio
import heapq
from dataclasses import dataclass, field

import structlog

logger = structlog.get_logger(__name__)


@dataclass(order=True, slots=True)
class _Waiter:
    number: int
    reached: "asyncio.Future[None]" = field(compare=False)


class Waiters:
    """Wakes them in the order of their numbers."""

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []

    async def wait(self, number: int, seconds: float) -> None:
        """Wait until the log has come to a number, or nobody can say, for so long at most."""
        waiter = _Waiter(number, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, waiter)
        reached, _ = await asyncio.wait((waiter.reached,), timeout=seconds)
        if not reached:
            logger.warning("catching_up_takes_long", seconds=seconds)

    def come_to(self, number: int) -> None:
        """Wake all who wait for a number or an earlier one."""
        while self._waiting and self._waiting[0].number <= number:
            _wake(heapq.heappop(self._waiting))

    def give_up(self) -> None:
        """Wake all: nobody knows when it would be."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _wake(waiter)


def _wake(waiter: _Waiter) -> None:
    if not waiter.reached.done():
        waiter.reached.set_result(None)
