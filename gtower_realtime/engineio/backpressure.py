"""How a transport waits until its session may be read from again."""

import asyncio

from gtower_realtime.engineio.session import Session


def until_readable(session: Session) -> "asyncio.Future[None] | None":
    """Return what to wait for before the next read; None when it may be now."""
    if session.is_readable or session.is_closed:
        return None
    readable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on() -> None:
        if not readable.done():
            readable.set_result(None)

    session.when_readable(go_on)
    return readable
