"""Coming back: what a returning client has missed, or why that cannot be told. No I/O of its own.

Source: connection state recovery of the Socket.IO protocol (`pid` and `offset` in CONNECT).
"""

from dataclasses import dataclass
from typing import Literal

from gtower_realtime.ports import Clock, EventLog, Offset, Past
from gtower_realtime.records import StoredEvent
from gtower_realtime.sessions import MayBeIn, Session, Sessions, missed
from gtower_realtime.timestamps import milliseconds

Reason = Literal["expired", "epoch_changed", "gap", "too_much", "revoked"]
"""Why a client that asked for recovery gets a fresh session."""

MAX_REPLAYED_EVENTS = 300
MAX_REPLAYED_BYTES = 4_000_000

# The store tells what a session's addresses had, which may be more than was for the session.
_PAST_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """What a returning client says of itself: its secret and the last offset it has seen."""

    pid: str
    offset: str | None


@dataclass(frozen=True, slots=True)
class Comeback:
    """A claim that was found good, and what was missed that only the store held."""

    session: Session
    claimed: Offset
    past: Past


class Recovery:
    """Judges claims and collects what was missed: never a part of it."""

    def __init__(self, journal: EventLog, sessions: Sessions, clock: Clock, seconds: float) -> None:
        self._journal = journal
        self._sessions = sessions
        self._clock = clock
        self._seconds = seconds

    async def judge(
        self, claim: Claim, namespace: str, user_id: str | None = None
    ) -> Comeback | Reason:
        """Judge a claim, and read what is only in the store; :meth:`replay` does the rest.

        A session is for nobody but the user who began it.

        Raises:
            StoreUnavailable: the store cannot be read; the client should try again.
        """
        session = self.session_of(claim, namespace, user_id)
        if session is None or self._is_expired(session):
            return self._reason_for_no_session(claim)
        offset = self._claimed_offset(claim, session)
        if offset is None or offset.epoch != self._journal.epoch:
            return "epoch_changed"
        if offset.number > self._journal.last_number:
            return "gap"
        after = max(offset.number, session.covered)
        past = await self._journal.past(
            session.addresses,
            after,
            max_events=_PAST_FACTOR * MAX_REPLAYED_EVENTS,
            max_bytes=_PAST_FACTOR * MAX_REPLAYED_BYTES,
        )
        if after < self._journal.first_number - 1:
            return "gap"
        return Comeback(session, offset, past) if past.is_complete else "too_much"

    def session_of(self, claim: Claim, namespace: str, user_id: str | None) -> Session | None:
        """Return the session that a claim is about, if it is one of this namespace and user."""
        session = self._sessions.of_pid(claim.pid)
        if session is None or (session.namespace, session.user_id) != (namespace, user_id):
            return None
        return session

    def replay(self, comeback: Comeback, may_be_in: MayBeIn) -> list[StoredEvent] | Reason:
        """Return everything that was missed, oldest first, as of this moment.

        To be called in the step in which :meth:`judge` returned; the caller makes the client live
        before anything else runs. What a room had is left out if the client may not be in it now.
        """
        session = comeback.session
        if self._sessions.of_pid(session.pid) is not session:
            return "expired"  # it has ended while the store was being read
        recent = self._journal.recent(comeback.past.read_until)
        events = missed(session, [*comeback.past.events, *recent], self._now(), may_be_in)
        size = sum(event.size for event in events)
        if len(events) > MAX_REPLAYED_EVENTS or size > MAX_REPLAYED_BYTES:
            return "too_much"
        return events

    def _reason_for_no_session(self, claim: Claim) -> Reason:
        if self._sessions.was_revoked(claim.pid):
            return "revoked"
        offset = None if claim.offset is None else Offset.parse(claim.offset)
        is_of_another_log = offset is not None and offset.epoch != self._journal.epoch
        # With another log all sessions are gone as well; that is not for having been away too long.
        return "epoch_changed" if is_of_another_log else "expired"

    def _claimed_offset(self, claim: Claim, session: Session) -> Offset | None:
        if claim.offset is None:
            # Cut before `connected` came: the client has seen nothing at all.
            return self._journal.offset(session.opened_at_number)
        return Offset.parse(claim.offset)

    def _is_expired(self, session: Session) -> bool:
        return (
            session.away_since is not None
            and session.away_since < self._now() - self._seconds * 1000
        )

    def _now(self) -> int:
        return milliseconds(self._clock.now())
