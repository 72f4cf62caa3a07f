"""Joining and leaving rooms: who may, recorded before it is confirmed, and `since`. No wires."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gtower_realtime.authentication import Authentication
from gtower_realtime.clients import ClientRegistry
from gtower_realtime.errors import Forbidden, TooManyRooms
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import is_user_room
from gtower_realtime.ports import Clock, EventLog, Offset, Past, Transport
from gtower_realtime.presence import Presence
from gtower_realtime.records import RoomEntered, RoomLeft
from gtower_realtime.recovery import MAX_REPLAYED_BYTES, MAX_REPLAYED_EVENTS
from gtower_realtime.sessions import Session, Sessions
from gtower_realtime.timestamps import format_timestamp, milliseconds
from gtower_realtime.trails import Trails

Answer = asyncio.Future[dict[str, Any]]


@dataclass(slots=True)
class _Wish:
    """What a client has last asked about a room, while that is not recorded.

    ``has_place`` says whether its place in the order is certain already.
    """

    enters: bool
    answer: Answer
    has_place: bool


class Rooms:
    """The memberships of all clients. ``max_per_client`` 0 is no limit."""

    def __init__(
        self,
        *,
        journal: EventLog,
        transport: Transport,
        sessions: Sessions,
        clients: ClientRegistry,
        authentication: Authentication,
        presence: Presence,
        trails: Trails,
        clock: Clock,
        metrics: Metrics,
        max_per_client: int,
    ) -> None:
        self._journal = journal
        self._transport = transport
        self._sessions = sessions
        self._clients = clients
        self._authentication = authentication
        self._presence = presence
        self._trails = trails
        self._clock = clock
        self._metrics = metrics
        self.max_per_client = max_per_client
        self._wishes: dict[str, dict[str, _Wish]] = {}

    def join(
        self,
        client_id: str,
        room: str,
        event: str,
        details: Mapping[str, str],
        since: Offset | None = None,
    ) -> Answer:
        """Make the client a member from a place in the log on, and tell it with ``event``.

        The answer is ``{"room"}``, and with ``since`` also ``{"complete"}``: whether everything
        that the room had after that offset has been sent, between ``event`` and what is new.

        Raises:
            Forbidden: the room belongs to the server, or the client's token does not allow it.
            TooManyRooms: the client is in as many rooms as it may be.
        """
        self._authentication.permissions_of(client_id).check("join", room)
        session = self._sessions.of_client(client_id)
        wanted = self._wanted_rooms(client_id)
        if room not in wanted and 0 < self.max_per_client <= len(wanted):
            raise TooManyRooms(
                f"You are in {len(wanted)} rooms, as many as one client may be; leave one first."
            )

        def join(past: Past | None) -> Answer:
            return self._record_join(client_id, session, room, event, details, past)

        past = None if since is None or self._is_ahead(since) else self._past_at_hand(since)
        if since is None or past is not None:
            return self._in_turn(client_id, room, True, lambda: join(past))

        async def read_and_join() -> dict[str, Any]:
            return await join(await self._past(room, since))

        return self._in_turn(
            client_id, room, True, lambda: asyncio.ensure_future(read_and_join()), has_place=False
        )

    def leave(self, client_id: str, room: str, event: str, details: Mapping[str, str]) -> Answer:
        """End the membership, if there is one, and tell the client with ``event``.

        Raises:
            Forbidden: the room belongs to the server.
        """
        self._authentication.permissions_of(client_id).check_may_leave(room)
        session = self._sessions.of_client(client_id)

        def apply(number: int) -> dict[str, Any]:
            if session is not None:
                self._sessions.leave(session, room, number)
                # Stays that ended before what has arrived need not be remembered.
                session.cover(self._transport.confirmed_mark(client_id))
            self._exit(client_id, room)
            self._tell(client_id, room, event, details)
            return {"room": room}

        def leave() -> Answer:
            return self._journal.record(
                lambda number: [RoomLeft(client_id, room, number)] if session else [], apply
            )

        return self._in_turn(client_id, room, False, leave)

    def _enter(self, client_id: str, room: str) -> None:
        self._transport.enter_room(client_id, room)
        self._trails.enter(client_id, room)
        self._clients.moved(client_id, room)
        self._presence.entered(self._clients.get(client_id), room)

    def _exit(self, client_id: str, room: str) -> None:
        self._transport.leave_room(client_id, room)
        self._trails.leave(client_id, room)
        self._clients.moved(client_id, room)
        self._presence.left(client_id, room)

    def admit(self, client_id: str, room: str) -> None:
        """Make a client a member whose session was recorded with the room, and tell it."""
        self._enter(client_id, room)
        self._tell(client_id, room, "roomJoined", {})

    def join_by_token(self, client_id: str, room: str) -> None:
        """Begin a membership that a returning client's token brings with it; no limit counts."""
        session = self._sessions.of_client(client_id)
        joined = self._in_turn(
            client_id,
            room,
            True,
            lambda: self._record_join(client_id, session, room, "roomJoined", {}, None),
        )
        joined.add_done_callback(self._count_unrecorded)

    def expel(self, client_id: str, rooms: Iterable[str]) -> None:
        """End memberships that the client's token does not allow any more, at once, and tell it.

        They are recorded afterwards: should that fail, the next return asks the token again.
        """
        session = self._sessions.of_client(client_id)
        for room in rooms:
            self._exit(client_id, room)
            self._tell(client_id, room, "roomLeft", {"reason": "not allowed by the token"})
            self._record_leaving(client_id, session, room)

    def _record_leaving(self, client_id: str, session: Session | None, room: str) -> None:
        if session is None:
            return
        recorded = self._journal.record(
            lambda number: [RoomLeft(client_id, room, number)],
            lambda number: self._sessions.leave(session, room, number),
        )
        recorded.add_done_callback(self._count_unrecorded)

    def _count_unrecorded(self, recorded: "asyncio.Future[Any]") -> None:
        if not recorded.cancelled() and recorded.exception() is not None:
            self._metrics.session_changes_lost.inc()

    def _record_join(
        self,
        client_id: str,
        session: Session | None,
        room: str,
        event: str,
        details: Mapping[str, str],
        past: Past | None,
    ) -> Answer:
        def apply(number: int) -> dict[str, Any]:
            if client_id in self._clients:
                try:
                    # Its token may have been replaced while this was being recorded.
                    self._authentication.permissions_of(client_id).check("join", room)
                except Forbidden:
                    self._record_leaving(client_id, session, room)
                    raise
            if session is not None:
                self._sessions.enter(session, room, number)
            self._enter(client_id, room)
            self._tell(client_id, room, event, details)
            answer: dict[str, Any] = {"room": room}
            if past is not None:
                answer["complete"] = self._send_past(client_id, room, past)
            return answer

        return self._journal.record(
            lambda number: [RoomEntered(client_id, room, number)] if session else [], apply
        )

    def _past_at_hand(self, since: Offset) -> Past | None:
        """Return where the past begins that is in memory; None when the store must be asked."""
        log = range(self._journal.first_number - 1, self._journal.last_number + 1)
        if since.epoch != self._journal.epoch or since.number not in log:
            return Past(read_until=0, is_complete=False)
        is_recent = since.number >= self._journal.window_after
        return Past(read_until=since.number) if is_recent else None

    def _is_ahead(self, since: Offset) -> bool:
        """Say whether an offset is one that another process may know, and this one not yet."""
        return since.epoch == self._journal.epoch and since.number > self._journal.last_number

    async def _past(self, room: str, since: Offset) -> Past:
        """Return what the room had after an offset that is only in the store, or not here yet."""
        if self._is_ahead(since):
            await self._journal.catch_up()
            at_hand = self._past_at_hand(since)
            if at_hand is not None:
                return at_hand
        return await self._journal.past(
            lambda: (room,),
            since.number,
            max_events=MAX_REPLAYED_EVENTS,
            max_bytes=MAX_REPLAYED_BYTES,
        )

    def _send_past(self, client_id: str, room: str, past: Past) -> bool:
        """Send everything the room has had, if that is known and not too much; say whether."""
        if not past.is_complete or past.read_until < self._journal.window_after:
            return False
        now = milliseconds(self._clock.now())
        events = [
            event
            for event in (*past.events, *self._journal.recent(past.read_until))
            if room in event.addresses
            and client_id not in event.excluded
            and (event.expires_at is None or event.expires_at > now)
        ]
        size = sum(event.size for event in events)
        if len(events) > MAX_REPLAYED_EVENTS or size > MAX_REPLAYED_BYTES:
            return False
        self._transport.replay(client_id, [(item.event, item.payload, None) for item in events])
        return True

    def _tell(self, client_id: str, room: str, event: str, details: Mapping[str, str]) -> None:
        timestamp = format_timestamp(self._clock.now())
        self._transport.send(client_id, event, {"room": room, **details, "timestamp": timestamp})

    def _wanted_rooms(self, client_id: str) -> set[str]:
        """Return the rooms the client is in, or will be when what it has asked for is recorded."""
        rooms = self._transport.rooms_of(client_id)
        wanted = {room for room in rooms if not is_user_room(room)}
        for room, wish in self._wishes.get(client_id, {}).items():
            (wanted.add if wish.enters else wanted.discard)(room)
        return wanted

    def _in_turn(
        self,
        client_id: str,
        room: str,
        enters: bool,
        begin: Callable[[], Answer],
        *,
        has_place: bool = True,
    ) -> Answer:
        """Begin a join or a leave after what the client has asked about the room before."""
        wishes = self._wishes.setdefault(client_id, {})
        before = wishes.get(room)
        if before is not None and not before.has_place:
            has_place = False
            answer: Answer = asyncio.ensure_future(_after(before.answer, begin))
        else:
            answer = begin()
        wish = wishes[room] = _Wish(enters, answer, has_place)

        def settled(_answer: Answer) -> None:
            if wishes.get(room) is wish:
                del wishes[room]
            if not wishes and self._wishes.get(client_id) is wishes:
                del self._wishes[client_id]

        answer.add_done_callback(settled)
        return answer


async def _after(before: Answer, begin: Callable[[], Answer]) -> dict[str, Any]:
    await asyncio.wait([before])
    return await begin()
