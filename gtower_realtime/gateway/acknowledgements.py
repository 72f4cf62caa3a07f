"""Acknowledgements in the order of the events, although some have to wait for a record."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.engineio.session import Session

Settle = Callable[["asyncio.Future[object]"], list[EncodedPacket]]
"""Turns a settled answer into the packets of its acknowledgement; none when none is wanted."""


@dataclass(slots=True)
class _Due:
    packets: list[EncodedPacket] | None = None


class Acknowledgements:
    """What each Engine.IO session is owed. Holds nothing for a session that waits for nothing."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions
        self._due: dict[str, deque[_Due]] = {}

    def give(self, eio_sid: str, packets: list[EncodedPacket]) -> None:
        """Send ``packets``, after whatever is still owed for earlier events."""
        due = self._due.get(eio_sid)
        if due is None:
            self._send(eio_sid, packets)
        else:
            due.append(_Due(packets))

    def defer(self, eio_sid: str, answer: "asyncio.Future[object]", settle: Settle) -> None:
        """Send what ``settle`` makes of ``answer`` when it is there, in its place in the order."""
        owed = _Due()
        self._due.setdefault(eio_sid, deque()).append(owed)

        def settled(future: "asyncio.Future[object]") -> None:
            owed.packets = []  # whatever happens here, what follows is not held up
            try:
                if not future.cancelled():
                    owed.packets = settle(future)
            finally:
                self._send_what_is_due(eio_sid)

        answer.add_done_callback(settled)

    def forget(self, eio_sid: str) -> None:
        """Owe a session nothing any more."""
        self._due.pop(eio_sid, None)

    def _send_what_is_due(self, eio_sid: str) -> None:
        due = self._due.get(eio_sid)
        while due and due[0].packets is not None:
            self._send(eio_sid, due.popleft().packets or [])
        if due is not None and not due:
            del self._due[eio_sid]

    def _send(self, eio_sid: str, packets: list[EncodedPacket]) -> None:
        session = self._sessions.get(eio_sid)
        if session is not None:
            for packet in packets:
                session.send(packet)
