"""Clients that come, go and come back: each is taken up once, with what it missed. No wires."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

from gtower_realtime.ack_waits import AckWaits
from gtower_realtime.authentication import Authentication
from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.elsewhere import Elsewhere
from gtower_realtime.membership import Rooms
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import user_room
from gtower_realtime.ports import Clock, EventLog, Offset, Target, Transport
from gtower_realtime.presence import Presence
from gtower_realtime.publishing import Publisher
from gtower_realtime.records import (
    Change,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionResumed,
    StoredEvent,
    StoredSession,
)
from gtower_realtime.recovery import Claim, Comeback, Reason, Recovery
from gtower_realtime.sessions import Session, Sessions
from gtower_realtime.timestamps import format_timestamp, milliseconds
from gtower_realtime.tokens import Identity
from gtower_realtime.trails import Trails

WELCOME = "Successfully connected to WebSocket server"

RECOVERED = "recovered"
"""How the metrics call a return that has succeeded; others have the reason why not."""

Welcome = Callable[[str, str | None], bool]
"""Given the client's id and its secret, answers CONNECT; False when the connection has gone."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection to a namespace that has been let in and not been answered yet.

    ``is_recoverable``: its client can take offsets, so that it can come back. ``claim`` is what a
    returning one says of itself; ``identity`` is who it is, if it needed a token.
    """

    namespace: str
    welcome: Welcome
    is_recoverable: bool = True
    claim: Claim | None = None
    identity: Identity | None = None


class Connections:
    """Takes up and lets go of clients. Times are in seconds."""

    def __init__(
        self,
        *,
        transport: Transport,
        journal: EventLog,
        publisher: Publisher,
        rooms: Rooms,
        authentication: Authentication,
        presence: Presence,
        ack_waits: AckWaits,
        trails: Trails,
        sessions: Sessions,
        clients: ClientRegistry,
        elsewhere: Elsewhere,
        clock: Clock,
        metrics: Metrics,
        recovery_seconds: float,
        announces_clients: bool,
        shares_sessions: bool,
    ) -> None:
        self._transport = transport
        self._journal = journal
        self._publisher = publisher
        self._rooms = rooms
        self._authentication = authentication
        self._presence = presence
        self._ack_waits = ack_waits
        self._trails = trails
        self._sessions = sessions
        self._clients = clients
        self._elsewhere = elsewhere
        self._clock = clock
        self._metrics = metrics
        self._recovery = Recovery(journal, sessions, clock, recovery_seconds)
        for outcome in (RECOVERED, *get_args(Reason)):
            metrics.recoveries.labels(outcome)
        self._recovery_seconds = recovery_seconds
        self._announces_clients = announces_clients
        self._shares_sessions = shares_sessions

    def restore(self, stored: list[StoredSession]) -> None:
        """Take up the sessions that were kept; whoever was connected here is away since now."""
        now = self._milliseconds()
        for record in stored:
            session = Session.restored(record)
            if session.away_since is None:
                session.away_since = now
            self._sessions.add(session)
            self._trails.begin(session.client_id, session.user_id)
            for room in session.rooms():
                self._trails.enter(session.client_id, room)

    def end_expired_sessions(self) -> None:
        """Forget who has been away for longer than the recovery time."""
        before = self._milliseconds() - round(self._recovery_seconds * 1000)
        for session in self._sessions.expired(before):
            if self._shares_sessions:
                # All processes know when; none has to tell the others.
                self.forget(session)
            else:
                self._end_session(session)

    async def connect(self, client: Client, arrival: Arrival) -> None:
        """Take up a client that was let in: with what it missed, or as a new one.

        It hears `connected` first. The others hear `clientJoined`. Nothing happens when the
        connection is gone by then.

        Raises:
            StoreUnavailable, Overloaded: the session could not be recorded; the client should
                connect again.
        """
        reason: Reason | None = None
        if arrival.claim is not None:
            reason = await self._resume(client, arrival, arrival.claim)
            if reason is None:
                return
            self._metrics.recoveries.labels(reason).inc()
            self._give_up(client, arrival, arrival.claim)
        if not arrival.is_recoverable:
            self._begin(client, arrival, None, reason)
            return
        await self._open_session(client, arrival, reason)

    def _open_session(
        self, client: Client, arrival: Arrival, reason: Reason | None
    ) -> "asyncio.Future[None]":
        opened: list[Session] = []

        def changes(number: int) -> list[Change]:
            session = Session.open(client.id, arrival.namespace, client.user_id, number)
            for room in _rooms_of_token(arrival):
                session.enter(room, number)
            opened.append(session)
            return [SessionOpened(session.stored())]

        def begin(number: int) -> None:
            opened[0].place(number)
            if self._begin(client, arrival, opened[0], reason):
                self._sessions.add(opened[0])
            else:
                self._record_unawaited(SessionEnded(client.id))

        return self._journal.record(changes, begin)

    async def _resume(self, client: Client, arrival: Arrival, claim: Claim) -> Reason | None:
        """Take up a client where it left off; return why that cannot be done."""
        # It may come from another process, of which not everything has been heard here yet.
        await self._journal.catch_up()
        session = self._recovery.session_of(claim, arrival.namespace, client.user_id)
        if session is not None:
            # On a connection that still looks alive from here.
            session.cover(self._transport.confirmed_mark(session.client_id))
        verdict = await self._recovery.judge(claim, arrival.namespace, client.user_id)
        if not isinstance(verdict, Comeback):
            return verdict
        permissions = self._authentication.permissions_for(arrival.identity)
        missed = self._recovery.replay(verdict, partial(permissions.allows, "join"))
        if not isinstance(missed, list):
            return missed
        self._come_back(client, arrival, verdict, missed)
        return None

    def _give_up(self, client: Client, arrival: Arrival, claim: Claim) -> None:
        """End the session of a client that gets a fresh one: it will not come back to both."""
        session = self._recovery.session_of(claim, arrival.namespace, client.user_id)
        if session is not None:
            self._drop_old_connection(session)
            self._end_session(session)

    def _drop_old_connection(self, session: Session) -> None:
        if session.client_id in self._clients:
            # It looks alive from here; its client says otherwise.
            mark = self._transport.confirmed_mark(session.client_id)
            self._transport.release(session.client_id)
            self.client_has_everything(session.client_id, mark)
            self.client_disconnected(session.client_id, may_return=True)
        elif self._elsewhere.remove(session.client_id) is not None:
            # The process that has it hears of it in the log.
            self._presence.gone(session.client_id)
            self.announce("clientLeft", session.client_id)

    def _begin(
        self, client: Client, arrival: Arrival, session: Session | None, reason: Reason | None
    ) -> bool:
        if not arrival.welcome(client.id, None if session is None else session.pid):
            return False
        offset = None
        if session is not None:
            offset = self._journal.offset(session.opened_at_number)
        details = {"recovered": False} | ({"reason": reason} if reason else {})
        self._trails.begin(client.id, client.user_id)
        self._trails.connect(client.id)
        self._go_live(client, arrival.identity, offset, details)
        for room in _rooms_of_token(arrival):
            self._rooms.admit(client.id, room)
        return True

    def _come_back(
        self, client: Client, arrival: Arrival, comeback: Comeback, missed: list[StoredEvent]
    ) -> None:
        session = comeback.session
        self._drop_old_connection(session)
        if not arrival.welcome(session.client_id, session.pid):
            return
        self._metrics.recoveries.labels(RECOVERED).inc()
        self._sessions.mark_back(session)
        session.node = None
        self._trails.resume(session.client_id, session.user_id, session.rooms())
        self._trails.connect(
            session.client_id,
            max(comeback.claimed.number, session.covered),
            [event.number for event in missed],
        )
        self._record_unawaited(SessionResumed(session.client_id))
        permissions = self._authentication.permissions_for(arrival.identity)
        lost = permissions.lost_rooms(session.rooms())
        kept = [room for room in session.rooms() if room not in lost]
        for room in kept:
            self._transport.enter_room(session.client_id, room)
        returned = replace(client, id=session.client_id)
        self._go_live(returned, arrival.identity, comeback.claimed, {"recovered": True})
        for room in kept:
            self._presence.entered(returned, room)
        self._transport.replay(
            session.client_id,
            [(event.event, event.payload, self._journal.offset(event.number)) for event in missed],
        )
        self._rooms.expel(session.client_id, lost)
        for room in _rooms_of_token(arrival):
            if room not in session.rooms():
                self._rooms.join_by_token(session.client_id, room)

    def _go_live(
        self,
        client: Client,
        identity: Identity | None,
        offset: Offset | None,
        details: dict[str, Any],
    ) -> None:
        self._authentication.grant(client.id, identity)
        self._clients.add(client)
        if client.user_id is not None:
            self._transport.enter_room(client.id, user_room(client.user_id))
        payload = {
            "message": WELCOME,
            "clientId": client.id,
            "timestamp": self._timestamp(),
            **details,
        }
        self._transport.send(client.id, "connected", payload, offset)
        self.announce("clientJoined", client.id)

    def client_closing(self, client_id: str, code: int, *, may_return: bool) -> None:
        """Take note that nothing is handed to a client any more; that it has gone is to follow.

        What is published meanwhile waits for its return, if it may. Sends nothing.
        """
        self._trails.close(client_id, code)
        session = self._sessions.of_client(client_id)
        if session is not None and may_return and session.away_since is None:
            self._sessions.mark_leaving(session)

    def client_disconnected(self, client_id: str, *, may_return: bool) -> None:
        """Forget a connection that is gone; the others hear `clientLeft`. Idempotent.

        With ``may_return`` its session waits for it; else that ends too.
        """
        self._forget_connection(client_id)
        session = self._sessions.of_client(client_id)
        if session is None:
            self._trails.end(client_id)
            return
        if session.away_since is not None:
            return
        if may_return or self._sessions.was_revoked(session.pid):
            # A revoked one ends when that is recorded.
            now = self._milliseconds()
            self._sessions.mark_away(session, now)
            self._record_unawaited(SessionAway(client_id, now))
        else:
            self._end_session(session)

    def _forget_connection(self, client_id: str) -> None:
        if self._clients.remove(client_id) is not None:
            self._authentication.forget(client_id)
            self._presence.gone(client_id)
            self._ack_waits.gone(client_id)
            self.announce("clientLeft", client_id)
        self._trails.disconnect(client_id)

    # Of other processes

    def is_here(self, client_id: str) -> bool:
        """Say whether a client is connected to this process."""
        return client_id in self._clients

    def taken_over(self, client_id: str) -> None:
        """Cut the connection of a client that is back at another process, which has its session."""
        self._transport.release(client_id)
        self._forget_connection(client_id)

    def begin_anew(self, code: int, reason: str) -> None:
        """Have all clients connect anew, and load their state: what was for them is not known.

        The sessions of all others, and of those who are away, are forgotten.
        """
        for client in tuple(self._clients):
            session = self._sessions.of_client(client.id)
            if session is not None:
                self._end_session(session)
            self._transport.disconnect(client.id, code, reason)
        for session in tuple(self._sessions):
            self.forget(session)

    def revoke(self, session: Session) -> "asyncio.Future[None]":
        """Let nobody come back to a session; a connection that it has is not touched.

        It holds at once, and after a restart once the future that is returned is done. Raises as
        `EventLog.record` does.
        """
        self._sessions.revoke(session)
        ended = SessionEnded(session.client_id, is_revoked=True)
        return self._journal.record(lambda _: [ended], lambda _: self.forget(session))

    def stop_announcing(self) -> None:
        """Tell nobody of others any more: where all are let go, each would hear of all."""
        self._announces_clients = False

    def client_has_everything(self, client_id: str, number: int) -> None:
        """Take note that a client has received all events up to ``number``."""
        self._trails.confirm(client_id, number)
        session = self._sessions.of_client(client_id)
        if session is not None:
            session.cover(number)

    def forget(self, session: Session) -> None:
        """Let nobody come back to a session whose end is recorded, or told by all clocks."""
        self._sessions.remove(session)
        self._trails.end(session.client_id)

    def _end_session(self, session: Session) -> None:
        self.forget(session)
        self._record_unawaited(SessionEnded(session.client_id))

    def _record_unawaited(self, change: Change) -> None:
        """Record what nobody waits for; a failure costs a session its recovery, and is counted."""
        recorded = self._journal.record(lambda _: [change], lambda _: None)
        recorded.add_done_callback(self._count_unrecorded)

    def _count_unrecorded(self, recorded: "asyncio.Future[None]") -> None:
        if not recorded.cancelled() and recorded.exception() is not None:
            self._metrics.session_changes_lost.inc()

    def announce(self, event: str, client_id: str) -> None:
        """Tell the clients here that another one has come or gone, if they are to be told."""
        if self._announces_clients:
            self._publisher.announce(
                event,
                {"clientId": client_id, "timestamp": self._timestamp()},
                Target.all(excluded=frozenset({client_id})),
            )

    def _milliseconds(self) -> int:
        return milliseconds(self._clock.now())

    def _timestamp(self) -> str:
        return format_timestamp(self._clock.now())


def _rooms_of_token(arrival: Arrival) -> tuple[str, ...]:
    return () if arrival.identity is None else arrival.identity.rooms
