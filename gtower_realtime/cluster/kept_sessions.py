"""Sessions as Redis keeps them, so that a process that starts, or starts again, knows them.

The log has each change of a session, and for longer than it takes until the session is kept anew.
"""

import time
from collections.abc import Callable

from gtower_realtime.cluster.link import Link
from gtower_realtime.cluster.wire import write_session
from gtower_realtime.sessions import Session, Sessions

_SLACK_SECONDS = 120.0
_REFRESH_SECONDS = 60.0
_AWAY_SLACK_MS = 10_000


class KeptSessions:
    """Keeps the sessions of this process's clients. ``now`` is in milliseconds since 1970."""

    def __init__(
        self,
        *,
        node: str,
        link: Link,
        sessions: Sessions,
        recovery_seconds: float,
        now: Callable[[], int],
    ) -> None:
        self._node = node
        self._link = link
        self._sessions = sessions
        self._recovery_ms = round(recovery_seconds * 1000)
        self._now = now
        self._changed: dict[str, None] = {}
        self._refreshed_at = time.monotonic()

    def changed(self, client_id: str) -> None:
        """Take note that a session has to be kept anew, or no more."""
        self._changed[client_id] = None

    def all_changed(self) -> None:
        """Take note that Redis has lost what it kept."""
        self._changed.update((session.client_id, None) for session in self._sessions)

    async def keep(self, number: int) -> None:
        """Keep what has changed, as it is at a number of the log.

        Raises:
            RedisAway: it has to be kept the next time.
        """
        changed, self._changed = self._changed, {}
        sessions = {client_id: self._sessions.of_client(client_id) for client_id in changed}
        keys = self._link.keys
        try:
            await self._link.keep(
                [
                    (
                        keys.session(client_id),
                        write_session(session.stored(), self._node, number),
                        self._lifetime(session),
                    )
                    for client_id, session in sessions.items()
                    if session is not None and session.node is None
                ],
                self._refreshed(),
                [keys.session(client_id) for client_id, one in sessions.items() if one is None],
            )
        except BaseException:
            self._changed = changed | self._changed
            raise

    def _refreshed(self) -> list[tuple[str, int]]:
        """Return the sessions of all clients that are connected, when it is time to."""
        if time.monotonic() - self._refreshed_at < _REFRESH_SECONDS:
            return []
        self._refreshed_at = time.monotonic()
        return [
            (self._link.keys.session(session.client_id), self._lifetime(session))
            for session in self._sessions
            if session.node is None and session.away_since is None
        ]

    def _lifetime(self, session: Session) -> int:
        if session.away_since is None:
            return self._recovery_ms + round(_SLACK_SECONDS * 1000)
        left = session.away_since + self._recovery_ms - self._now()
        return max(1, left + _AWAY_SLACK_MS)
