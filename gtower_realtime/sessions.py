"""Who may come back, and what is for it: the sessions of clients that are here or away. No I/O.

A session outlives the connections of its client. It knows the rooms of the client by the numbers
of the log, so that what was missed can be told from what was not for it.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gtower_realtime.names import user_room
from gtower_realtime.ports import Target
from gtower_realtime.records import EVERYONE, Membership, StoredEvent, StoredSession

_REVOKED_KEPT = 10_000

# One more is sent again at a return: at least once is what was promised.
_MAX_ACKNOWLEDGED = 10_000

MayBeIn = Callable[[str], bool]
"""Says whether a client may be in a room."""


def _everywhere(_room: str) -> bool:
    return True


@dataclass(slots=True)
class Session:
    """One client's session. ``pid`` is the secret with which it comes back.

    ``covered`` is a number up to which the client is known to have everything. ``away_since`` is
    None while it is connected; both times are milliseconds since 1970.
    """

    client_id: str
    pid: str
    namespace: str
    user_id: str | None
    opened_at_number: int
    covered: int
    away_since: int | None = None
    memberships: list[Membership] = field(default_factory=list)
    node: str | None = None
    """The other process that its client is, or was last, connected to; None for this one."""
    acknowledged: set[int] = field(default_factory=set)
    """Numbers after ``covered`` of events that the client has said to have."""

    @classmethod
    def open(cls, client_id: str, namespace: str, user_id: str | None, number: int) -> "Session":
        """Return the session of a client that connects for the first time."""
        return cls(
            client_id=client_id,
            pid=secrets.token_urlsafe(15),
            namespace=namespace,
            user_id=user_id,
            opened_at_number=number,
            covered=number,
        )

    @classmethod
    def restored(cls, stored: StoredSession) -> "Session":
        """Return a session that a store has kept."""
        return cls(
            client_id=stored.client_id,
            pid=stored.pid,
            namespace=stored.namespace,
            user_id=stored.user_id,
            opened_at_number=stored.opened_at_number,
            covered=stored.opened_at_number,
            away_since=stored.away_since,
            memberships=stored.memberships,
        )

    def stored(self) -> StoredSession:
        """Return what a store keeps of it."""
        return StoredSession(
            client_id=self.client_id,
            pid=self.pid,
            namespace=self.namespace,
            user_id=self.user_id,
            opened_at_number=self.opened_at_number,
            away_since=self.away_since,
            memberships=list(self.memberships),
        )

    def place(self, number: int) -> None:
        """Let it begin at ``number``, which was not known when it was opened."""
        self.opened_at_number = self.covered = number
        for stay in self.memberships:
            stay.after = number

    def place_anew(self, before: int, number: int) -> None:
        """Let it begin at ``number`` instead of ``before``, with the stays that began with it."""
        if self.opened_at_number == before:
            self.opened_at_number = number
        for stay in self.memberships:
            if stay.after == before:
                stay.after = number

    def renumber(self, room: str, before: int, number: int) -> None:
        """Let a stay in a room begin or end at ``number`` instead of ``before``."""
        for stay in self.memberships:
            if stay.room == room and stay.after == before:
                stay.after = number
            if stay.room == room and stay.until == before:
                stay.until = number

    # Rooms

    def rooms(self) -> list[str]:
        """Return the rooms it is in now, in the order of joining."""
        return [stay.room for stay in self.memberships if stay.until is None]

    def enter(self, room: str, number: int) -> None:
        """Begin a stay after ``number``; silent when it is in the room."""
        if room not in self.rooms():
            self.memberships.append(Membership(room, number))

    def leave(self, room: str, number: int) -> None:
        """End the stay at ``number``; silent when there is none."""
        for stay in self.memberships:
            if stay.room == room and stay.until is None:
                stay.until = number

    def cover(self, number: int) -> None:
        """Take note that the client has everything up to ``number``."""
        self.covered = max(self.covered, number)
        self.memberships = [
            stay for stay in self.memberships if stay.until is None or stay.until > self.covered
        ]
        if self.acknowledged:
            self.acknowledged = {one for one in self.acknowledged if one > self.covered}

    def acknowledge(self, number: int) -> None:
        """Take note that the client has the event with ``number``, whatever else it has."""
        if len(self.acknowledged) < _MAX_ACKNOWLEDGED:
            self.acknowledged.add(number)

    # What is for it

    def own_addresses(self) -> set[str]:
        """Return the addresses under which everything is for it, whatever rooms it is in."""
        return {EVERYONE, self.client_id, *([user_room(self.user_id)] if self.user_id else [])}

    def addresses(self) -> set[str]:
        """Return every address under which something may be for it."""
        return self.own_addresses() | {stay.room for stay in self.memberships}

    def is_for(self, event: StoredEvent, may_be_in: MayBeIn = _everywhere) -> bool:
        """Say whether the event was for this client when it was published, and is not known to it.

        What a room had counts only if the client may be in that room today.
        """
        if event.number <= self.opened_at_number or self.client_id in event.excluded:
            return False
        if event.number in self.acknowledged:
            return False
        own = self.own_addresses()
        return any(
            address in own or (self._was_in(address, event.number) and may_be_in(address))
            for address in event.addresses
        )

    def _was_in(self, room: str, number: int) -> bool:
        return any(
            stay.room == room
            and stay.after < number
            and (stay.until is None or number <= stay.until)
            for stay in self.memberships
        )


class Sessions:
    """All sessions: by client and by secret, and those away by what they are still in."""

    def __init__(self) -> None:
        self._by_client: dict[str, Session] = {}
        self._by_pid: dict[str, Session] = {}
        self._away: dict[str, Session] = {}
        self._away_in: dict[str, dict[str, None]] = {}
        self._revoked: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._by_client)

    @property
    def away(self) -> int:
        """How many of them have a client that is away."""
        return len(self._away)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_client.values())

    def add(self, session: Session) -> None:
        """Take up a session."""
        self._by_client[session.client_id] = session
        self._by_pid[session.pid] = session
        if session.away_since is not None:
            self.mark_away(session, session.away_since)

    def of_client(self, client_id: str) -> Session | None:
        """Return the session of a client that is here or away."""
        return self._by_client.get(client_id)

    def of_pid(self, pid: str) -> Session | None:
        """Return the session with a secret."""
        return self._by_pid.get(pid)

    def enter(self, session: Session, room: str, number: int) -> None:
        """Begin a stay of the session after ``number``; silent when it is in the room."""
        session.enter(room, number)
        if session.client_id in self._away and session.pid not in self._revoked:
            self._await_in(room, session.client_id)

    def leave(self, session: Session, room: str, number: int) -> None:
        """End a stay of the session at ``number``; silent when there is none."""
        session.leave(room, number)
        self._forget_in(room, session.client_id)

    def mark_leaving(self, session: Session) -> None:
        """Take note that nothing is handed to the client any more: it is told to be away soon."""
        self._await(session)

    def mark_away(self, session: Session, since: int) -> None:
        """Take note that the client has dropped."""
        session.away_since = since
        self._await(session)

    def _await(self, session: Session) -> None:
        self._away[session.client_id] = session
        if session.pid in self._revoked:
            return  # nothing is for it any more
        for address in self._addresses_of_away(session):
            self._await_in(address, session.client_id)

    def mark_back(self, session: Session) -> None:
        """Take note that the client is connected."""
        session.away_since = None
        if self._away.pop(session.client_id, None) is not None:
            self._forget_away(session)

    def revoke(self, session: Session) -> None:
        """Let no secret lead to a session any more, and remember why; `remove` is to follow.

        Until then it is found by its client and its user: should its end not be recorded, whoever
        wants it gone can ask again.
        """
        self._by_pid.pop(session.pid, None)
        if session.client_id in self._away:
            self._forget_away(session)
        self._revoked[session.pid] = None
        while len(self._revoked) > _REVOKED_KEPT:
            del self._revoked[next(iter(self._revoked))]

    def was_revoked(self, pid: str) -> bool:
        """Say whether the session with this secret was revoked; of the last thousands only."""
        return pid in self._revoked

    def can_return(self, client_id: str) -> bool:
        """Say whether a client that is here or away could come back to its session."""
        session = self._by_client.get(client_id)
        return session is not None and session.pid not in self._revoked

    def of_user(self, user_id: str) -> list[Session]:
        """Return the sessions of a user, here or away."""
        return [session for session in self._by_client.values() if session.user_id == user_id]

    def remove(self, session: Session) -> None:
        """Forget a session. Idempotent."""
        if self._by_client.pop(session.client_id, None) is not None:
            self._by_pid.pop(session.pid, None)
        if self._away.pop(session.client_id, None) is not None:
            self._forget_away(session)

    def expired(self, away_before: int) -> list[Session]:
        """Return the sessions that have been away since before a time."""
        return [
            session
            for session in self._away.values()
            if session.away_since is not None and session.away_since < away_before
        ]

    def count_away(self, target: Target) -> int:
        """Count the clients that are away and for which an event to ``target`` is."""
        if not self._away_in:
            return 0
        addressed = {
            client_id
            for address in addresses(target)
            for client_id in self._away_in.get(address, ())
        }
        return len(addressed - target.excluded)

    def _addresses_of_away(self, session: Session) -> list[str]:
        return [*session.own_addresses(), *session.rooms()]

    def _forget_away(self, session: Session) -> None:
        for address in self._addresses_of_away(session):
            self._forget_in(address, session.client_id)

    def _await_in(self, address: str, client_id: str) -> None:
        self._away_in.setdefault(address, {})[client_id] = None

    def _forget_in(self, address: str, client_id: str) -> None:
        clients = self._away_in.get(address, {})
        clients.pop(client_id, None)
        if not clients:
            self._away_in.pop(address, None)


def addresses(target: Target) -> tuple[str, ...]:
    """Return the addresses of a target, as the log keeps them."""
    if target.everyone:
        return (EVERYONE,)
    return tuple(dict.fromkeys((*target.rooms, *map(user_room, target.users), *target.clients)))


def target_of(event: StoredEvent) -> Target:
    """Return whom an event of the log was for; users and clients are rooms of their names there."""
    excluded = frozenset(event.excluded)
    if EVERYONE in event.addresses:
        return Target.all(excluded=excluded)
    return Target(rooms=event.addresses, excluded=excluded)


def missed(
    session: Session,
    events: Iterable[StoredEvent],
    now: int,
    may_be_in: MayBeIn = _everywhere,
) -> list[StoredEvent]:
    """Return those of ``events`` that were for the session and have not expired."""
    return [
        event
        for event in events
        if session.is_for(event, may_be_in) and (event.expires_at is None or event.expires_at > now)
    ]
