"""How late the event loop comes to what is due, measured again and again."""

import asyncio
from collections.abc import Callable

_EVERY_SECONDS = 0.25


async def watch_loop_lag(measured: Callable[[float], None]) -> None:
    """Call ``measured`` with the seconds that a wake-up was late, four times a second, for ever."""
    now = asyncio.get_running_loop().time
    while True:
        due = now() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        measured(max(0.0, now() - due))
