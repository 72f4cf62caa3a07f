"""Everything the server does, as plain methods: what clients ask for, and what back-ends send.

Knows no Tornado, no Socket.IO and no database: it talks to `ports.Transport` and, through the
journal, to `ports.Store`. Code in the same process uses the methods of "Sending" and of `Senders`
directly; see docs/embedding.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from gtower_realtime import strict_json
from gtower_realtime.ack_waits import AckWaits
from gtower_realtime.analytics import Analytics
from gtower_realtime.authentication import Authentication
from gtower_realtime.batches import BatchItem, Outcome, send_batch
from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.connections import Arrival, Connections
from gtower_realtime.control import Control
from gtower_realtime.directory import Directory
from gtower_realtime.draining import Drain
from gtower_realtime.elsewhere import Elsewhere
from gtower_realtime.errors import (
    Draining,
    Forbidden,
    RealtimeError,
    StoreUnavailable,
    ValidationFailed,
)
from gtower_realtime.events.server import build_payload, check_publishable
from gtower_realtime.futures import mapped
from gtower_realtime.gathering import Gathering
from gtower_realtime.idempotency import Also, OnceOnly, Shape
from gtower_realtime.membership import Rooms
from gtower_realtime.metrics import Metrics
from gtower_realtime.monitor import Monitor
from gtower_realtime.names import WHATSAPP_GENERAL_ROOM, whatsapp_customer_room
from gtower_realtime.peers import NoPeers, Peers
from gtower_realtime.ports import MAX_HISTORY_BYTES, Clock, EventLog, Offset, Target, Transport
from gtower_realtime.presence import Presence
from gtower_realtime.publishing import AS_USUAL, Delivery, Publisher, Receipt
from gtower_realtime.records import StoredEvent, StoredSession
from gtower_realtime.replication import Replication
from gtower_realtime.senders import Senders
from gtower_realtime.sessions import Sessions
from gtower_realtime.timestamps import format_timestamp, from_milliseconds, milliseconds
from gtower_realtime.tokens import Identity, TokenVerifier
from gtower_realtime.traces import Traces
from gtower_realtime.trails import Trails

ServiceState = Literal["active", "draining", "degraded"]

Answer = asyncio.Future[dict[str, Any]]
Relayed = asyncio.Future[Receipt] | Awaitable[Answer]
"""A receipt, or its dictionary as it was given before."""

DEFAULT_LIMIT = 50

_TOKEN_EXPIRED = 4202

_RETRY_SOON = {"Retry-After": "1"}


class RealtimeService(Senders):
    """The realtime server without its wires.

    Without a ``verifier`` clients need no token. ``presence_rooms`` are what the names of rooms
    with presence begin with.
    ``max_rooms_per_client`` 0 is no limit. With ``announces_clients`` false nobody is told of
    others coming and going.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        journal: EventLog,
        sessions: Sessions,
        clients: ClientRegistry,
        clock: Clock,
        metrics: Metrics,
        verifier: TokenVerifier | None = None,
        presence_rooms: Sequence[str] = (),
        recovery_seconds: float = 120.0,
        max_rooms_per_client: int = 128,
        announces_clients: bool = True,
        peers: Peers | None = None,
    ) -> None:
        elsewhere = self._elsewhere = Elsewhere()
        self.peers: Peers = NoPeers() if peers is None else peers
        """The other processes of the cluster, if there is one."""
        self._transport = transport
        self._journal = journal
        self._sessions = sessions
        self._clients = clients
        self._clock = clock
        ack_waits = AckWaits()
        self._trails = Trails()
        self._authentication = Authentication(verifier, clock, self._is_client_id)
        self.traces = Traces(
            trails=self._trails,
            transport=transport,
            sessions=sessions,
            clock=clock,
            may_join=lambda client_id, room: self._authentication.permissions_of(client_id).allows(
                "join", room
            ),
        )
        """What became of events."""
        self._publisher = Publisher(
            journal=journal,
            transport=transport,
            sessions=sessions,
            ack_waits=ack_waits,
            traces=self.traces,
            clock=clock,
            metrics=metrics,
            peers=self.peers,
        )
        self._presence = Presence(presence_rooms, self._publisher, transport, clock)
        self._rooms = Rooms(
            journal=journal,
            transport=transport,
            sessions=sessions,
            clients=clients,
            authentication=self._authentication,
            presence=self._presence,
            trails=self._trails,
            clock=clock,
            metrics=metrics,
            max_per_client=max_rooms_per_client,
        )
        self._connections = Connections(
            transport=transport,
            journal=journal,
            publisher=self._publisher,
            rooms=self._rooms,
            authentication=self._authentication,
            presence=self._presence,
            ack_waits=ack_waits,
            trails=self._trails,
            sessions=sessions,
            clients=clients,
            elsewhere=elsewhere,
            clock=clock,
            metrics=metrics,
            recovery_seconds=recovery_seconds,
            announces_clients=announces_clients,
            shares_sessions=peers is not None,
        )
        self.replication = Replication(
            publisher=self._publisher,
            connections=self._connections,
            presence=self._presence,
            sessions=sessions,
            elsewhere=elsewhere,
            now=lambda: milliseconds(clock.now()),
        )
        """What happens at other processes, as it takes effect here."""
        self._once_only = OnceOnly(journal, clock)
        self.directory = Directory(transport, clients, clock, elsewhere)
        """Who is connected, and where."""
        self.analytics = Analytics(journal=journal, clients=clients, clock=clock, metrics=metrics)
        """What happened minute by minute."""
        self.control = Control(
            transport=transport,
            sessions=sessions,
            clients=clients,
            elsewhere=elsewhere,
            rooms=self._rooms,
            connections=self._connections,
            directory=self.directory,
            peers=self.peers,
        )
        """Who is sent away, or put into rooms."""
        self.gathering = Gathering(self.traces, self.analytics, self.peers)
        """What has to be asked of all processes."""
        self._drain = Drain(transport, clients, clock)
        self._metrics = metrics
        self.monitor = Monitor(
            publisher=self._publisher,
            transport=transport,
            clients=clients,
            clock=clock,
            metrics=metrics,
            state=lambda: self.state,
        )
        """What people who watch are shown."""
        metrics.store_failing.set_function(lambda: journal.is_failing)
        metrics.store_queue.set_function(lambda: journal.queue_length)
        metrics.when_asked(self._look_at_population)

    def _look_at_population(self) -> None:
        metrics, population = self._metrics, self.directory.population()
        metrics.clients.set(population.clients)
        metrics.users.set(population.users)
        metrics.rooms.set(population.rooms)
        metrics.room_members.set(population.room_members)
        metrics.sessions.set(len(self._sessions))
        metrics.sessions_away.set(self._sessions.away)

    # Life

    @property
    def state(self) -> ServiceState:
        """What ``status`` says: ``active``, ``draining`` or ``degraded``."""
        if self._drain.has_begun:
            return "draining"
        is_degraded = self._journal.is_failing or self.peers.is_cut_off
        return "degraded" if is_degraded else "active"

    def restore(self, sessions: list[StoredSession]) -> None:
        """Take up the sessions that the store has kept."""
        self._connections.restore(sessions)

    def end_expired_sessions(self) -> None:
        """Forget who has been away for longer than the recovery time."""
        self._connections.end_expired_sessions()

    def refusal_of_new_work(self) -> RealtimeError | None:
        """Return why nothing new is taken up at the moment; None when it is."""
        if self._drain.has_begun:
            return Draining("The server is going down.")
        if self._journal.is_failing:
            return StoreUnavailable("The event store does not answer.", headers=_RETRY_SOON)
        return None

    def failing_parts(self) -> list[str]:
        """Return the parts that keep this process from taking new connections."""
        parts = {
            "draining": self._drain.has_begun,
            "store": self._journal.is_failing,
            "redis": self.peers.is_cut_off,
        }
        return [name for name, is_failing in parts.items() if is_failing]

    def change(self, verifier: TokenVerifier | None, max_rooms_per_client: int) -> None:
        """Take another verifier and limit of rooms; what clients have already, they keep."""
        self._authentication.replace_verifier(verifier)
        self._rooms.max_per_client = max_rooms_per_client

    def drain(self, seconds: float) -> None:
        """Take up nothing new, and tell each client when to come back, spread over the time.

        What clients say goes on being answered until they are let go.
        """
        self._connections.stop_announcing()
        self._drain.begin(seconds)

    def let_go(self) -> bool:
        """Close the clients whose time to go has come; return whether any are left.

        To be called a few times a second from :meth:`drain` on.
        """
        return self._drain.let_go()

    # Connections

    async def connect(self, client: Client, arrival: Arrival) -> None:
        """Take up a client that was let in; see `Connections.connect`."""
        await self._connections.connect(client, arrival)
        self.mind_tokens()

    def client_closing(self, client_id: str, code: int, *, may_return: bool) -> None:
        """Hand nothing more to a client; see `Connections.client_closing`."""
        self._connections.client_closing(client_id, code, may_return=may_return)

    def client_missed(self, client_id: str) -> None:
        """Take note that a client reads too slowly for the event that is being handed over."""
        self._trails.drop(client_id)

    def client_disconnected(self, client_id: str, *, may_return: bool) -> None:
        """Let go of a client; see `Connections.client_disconnected`."""
        self._connections.client_disconnected(client_id, may_return=may_return)

    def client_has_everything(self, client_id: str, number: int) -> None:
        """Take note that a client has received all events up to a number of the log."""
        self._connections.client_has_everything(client_id, number)

    # Who clients are, and control

    async def identify(self, token: object) -> Identity | None:
        """Return whom a client's token identifies; None while none is needed.

        Raises:
            MissingToken, InvalidToken, TokenExpired: it will never pass.
            Overloaded: whether it is good cannot be known at the moment.
        """
        return await self._authentication.identify(token)

    def mind_tokens(self) -> None:
        """Tell clients whose token ends soon, and close those whose token has ended."""
        ending, over = self._authentication.due()
        for client_id, identity in ending:
            left = (identity.expires_at - self._clock.now()).total_seconds()
            payload = {
                "expiresAt": format_timestamp(identity.expires_at),
                "expiresIn": max(0, round(left)),
            }
            self._transport.send(client_id, "tokenExpiring", payload)
        for client_id in over:
            self._transport.disconnect(client_id, _TOKEN_EXPIRED, "token expired")

    def tell_presence(self) -> None:
        """Tell rooms who has come and gone; to be called a few times a second."""
        self._presence.tick()

    def list_present(self, room: str) -> dict[str, Any]:
        """Return who is in a room; see `Directory.present`.

        In a room with presence the list and the events after it are who is there, at any time.
        """
        self._presence.listed(room)
        return self.directory.present(room)

    def _is_client_id(self, name: str) -> bool:
        return not self.control.unknown_clients([name])

    # What clients ask for: the methods of the client-event table. Each returns a future of what the
    # acknowledgement says, or has to be awaited for it when something has to be read first: what
    # the client asks for next comes after that.

    def relay_message(self, client_id: str, message: Any) -> Relayed:
        """Send ``message`` unchanged to all others and tell the sender; return the receipt.

        Raises:
            Forbidden: the client's token does not allow to send to everybody.
        """
        self._authentication.permissions_of(client_id).check_may_broadcast()
        now = self._timestamp()
        received = {"originalMessage": message, "receivedAt": now}
        return self._relay(
            client_id,
            "messageBroadcast",
            {"from": client_id, "message": message, "timestamp": now},
            Target.all(excluded=frozenset({client_id})),
            message.get("clientMsgId") if isinstance(message, dict) else None,
            then=lambda _: self._transport.send(client_id, "messageReceived", received),
        )

    def relay_room_message(
        self, client_id: str, room: str, message: Any, client_message_id: str | None = None
    ) -> Relayed:
        """Send ``message`` unchanged to the room's members, the sender among them if it is one.

        Raises:
            Forbidden: the room belongs to the server, or the client's token does not allow it.
        """
        self._authentication.permissions_of(client_id).check("publish", room)
        return self._relay(
            client_id,
            "roomMessage",
            {"from": client_id, "room": room, "message": message, "timestamp": self._timestamp()},
            Target.room(room),
            client_message_id,
        )

    def join_room(self, client_id: str, room: str, since: str | None = None) -> Answer:
        """Make the client a member from here, or from the offset ``since``, on: `roomJoined`.

        An offset of another log, as a page has that was rendered before a new epoch, is not
        refused: the answer says ``complete: false``.

        Raises as `Rooms.join` does, and ValidationFailed if ``since`` is no offset at all.
        """
        offset = None if since is None else _parse_offset("since", since)
        return self._rooms.join(client_id, room, "roomJoined", {}, offset)

    def leave_room(self, client_id: str, room: str) -> Answer:
        """End the membership, if there is one, and tell the client with `roomLeft`."""
        return self._rooms.leave(client_id, room, "roomLeft", {})

    def join_whatsapp_general(self, client_id: str) -> Answer:
        """Let the client see all WhatsApp traffic; it hears `whatsappGeneralJoined`."""
        return self._rooms.join(client_id, WHATSAPP_GENERAL_ROOM, "whatsappGeneralJoined", {})

    def join_whatsapp_customer(self, client_id: str, customer_id: str) -> Answer:
        """Let the client follow a customer; it hears `whatsappCustomerJoined`."""
        room = whatsapp_customer_room(customer_id)
        return self._rooms.join(
            client_id, room, "whatsappCustomerJoined", {"customerId": customer_id}
        )

    def leave_whatsapp_customer(self, client_id: str, customer_id: str) -> Answer:
        """Let the client stop following a customer; it hears `whatsappCustomerLeft`."""
        room = whatsapp_customer_room(customer_id)
        return self._rooms.leave(
            client_id, room, "whatsappCustomerLeft", {"customerId": customer_id}
        )

    async def read_room_history(
        self, client_id: str, room: str, after: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> dict[str, Any]:
        """Return a page of the room's history, as the HTTP read does.

        Raises:
            Forbidden: the room belongs to the server, or the client's token does not allow it.
        """
        self._authentication.permissions_of(client_id).check("history", room)
        return await self.history(room, after, limit)

    async def read_presence(self, client_id: str, room: str) -> dict[str, Any]:
        """Return who is in a room with presence, as the HTTP read does.

        Raises:
            Forbidden: the room has no presence or belongs to the server, or the client's token does
                not allow it.
        """
        self._authentication.permissions_of(client_id).check("presence", room)
        if not self._presence.is_on(room):
            raise Forbidden(f"The room {room!r} does not tell who is in it.")
        return self.list_present(room)

    async def refresh_token(self, client_id: str, token: Any) -> dict[str, Any]:
        """Replace the client's token; it stays connected, and leaves what that does not allow.

        Returns ``{"expiresAt"}``. When it is refused, the token before stays in force.

        Raises:
            Forbidden: tokens are not used here, or it is another user's.
            MissingToken, InvalidToken, TokenExpired, Overloaded: see :meth:`identify`.
        """
        identity = await self._authentication.identify(token)
        if identity is None:
            raise Forbidden("Tokens are not used here.")
        self._authentication.check_renewal(client_id, identity)
        self._authentication.grant(client_id, identity)
        permissions = self._authentication.permissions_of(client_id)
        lost = permissions.lost_rooms(self._transport.rooms_of(client_id))
        self._rooms.expel(client_id, lost)
        client = self._clients.get(client_id)
        if client is not None:
            client = replace(client, info=identity.info)
            self._clients.replace(client)
            for room in self._transport.rooms_of(client_id):
                self._presence.entered(client, room)
        self.mind_tokens()
        return {"expiresAt": format_timestamp(identity.expires_at)}

    def _relay(
        self,
        client_id: str,
        event: str,
        payload: dict[str, Any],
        target: Target,
        client_message_id: str | None,
        then: Callable[[Receipt], None] | None = None,
    ) -> Relayed:
        """Publish what a client says; with an id of its own, once however often it says it."""
        if client_message_id is None:
            return self._publisher.publish(event, payload, target, then)
        return self._relay_once(client_id, event, payload, target, client_message_id, then)

    async def _relay_once(
        self,
        client_id: str,
        event: str,
        payload: dict[str, Any],
        target: Target,
        client_message_id: str,
        then: Callable[[Receipt], None] | None,
    ) -> Answer:
        client = self._clients.get(client_id)
        user_id = (client.user_id if client else None) or ""
        said = strict_json.dumps([payload.get("room"), payload["message"]]).encode()
        answered = await self._once_only.begin(
            ("client", user_id, event, client_message_id),
            said,
            lambda also: self._publisher.publish(event, payload, target, then, also),
            dict,
        )
        return mapped(answered, lambda answer_and_whether_replayed: answer_and_whether_replayed[0])

    # Sending: what back-ends and code in the same process use; see also `Senders`

    async def send(
        self,
        event: str,
        body: Mapping[str, Any],
        target: Target,
        delivery: Delivery = AS_USUAL,
    ) -> Receipt:
        """Publish an event of a back-end; return its receipt once it is recorded and handed over.

        ``body`` is checked by the event's schema, if it has one, and timestamped. A volatile one
        is not recorded, and goes out even while the store fails.

        Raises:
            ReservedEvent: only the server, or Socket.IO itself, says ``event``.
            ValidationFailed: ``event`` is no event name, or ``body`` does not fit the event.
            UnknownClient: ``target`` is one client that is not there. Nothing is stored.
            Draining: the server is going down. Nothing is stored.
            StoreUnavailable: it could not be recorded, and nobody has seen it.
        """
        await self.control.look_for(target.clients)
        return await self.begin_send(event, body, target, delivery)

    async def send_once(
        self,
        scope: tuple[str, ...],
        request_body: bytes,
        shape: Shape,
        event: str,
        body: Mapping[str, Any],
        target: Target,
        delivery: Delivery = AS_USUAL,
    ) -> tuple[dict[str, Any], bool]:
        """Do what :meth:`send` does, unless the same keyed request was answered before.

        Returns the answer that ``shape`` makes of the receipt, and whether it was given before.
        Raises as :meth:`send` and `OnceOnly.run` do.
        """
        await self.control.look_for(target.clients)
        return await self._once_only.run(
            scope,
            request_body,
            lambda also: self.begin_send(event, body, target, delivery, also),
            shape,
        )

    async def send_batch(self, items: Sequence[BatchItem | RealtimeError]) -> list[Outcome]:
        """Send many events, recorded together; see `batches.send_batch`."""
        return await send_batch(items, self._once_only, self.begin_send)

    def begin_send(
        self,
        event: str,
        body: Mapping[str, Any],
        target: Target,
        delivery: Delivery = AS_USUAL,
        also: Also | None = None,
    ) -> "asyncio.Future[Receipt]":
        """Do what :meth:`send` does, but return at once: events are sent in the order of the calls.

        What ``also`` returns is recorded together with the event. Refusals that can be told at once
        are raised here, the others by the future.
        """
        refusal = self.refusal_of_new_work()
        needs_store = isinstance(refusal, StoreUnavailable)
        if refusal is not None and not (needs_store and delivery.is_volatile):
            raise refusal
        check_publishable(event)
        payload = build_payload(event, body, self._clock.now())
        if target.is_one_client:
            self.control.check_known(target.clients[0])
        return self._publisher.publish(event, payload, target, also=also, delivery=delivery)

    def begin_whatsapp_event(
        self, event: str, payload: Mapping[str, Any], customer_id: str, also: Also
    ) -> "asyncio.Future[Receipt]":
        """Tell who follows all WhatsApp traffic or this customer, one copy each.

        ``payload`` goes out as it is; what ``also`` returns is recorded together with the event.
        Events are sent in the order of the calls. The future fails with `StoreUnavailable` or
        `Overloaded` when nobody has seen it.
        """
        target = Target(rooms=(WHATSAPP_GENERAL_ROOM, whatsapp_customer_room(customer_id)))
        return self._publisher.publish(event, payload, target, also=also)

    # Asking; see also :attr:`directory` and :attr:`analytics`

    def status(self) -> dict[str, Any]:
        """Return ``{"connectedClients", "status", "timestamp"}``."""
        return {
            "connectedClients": self.directory.count_clients(),
            "status": self.state,
            "timestamp": self._timestamp(),
        }

    async def history(
        self, room: str, after: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> dict[str, Any]:
        """Return ``{"room", "events": [{"offset", "id", "event", "data", "timestamp"}], "more"}``.

        Oldest first, at most ``limit`` (1 to 300), fewer when they are more than 1 MB in all; after
        the offset ``after`` or from the oldest kept. ``"complete": False`` is added when something
        after ``after`` was trimmed already.

        Raises:
            ValidationFailed: ``after`` is not an offset of this log.
            StoreUnavailable: the store cannot be read.
        """
        start = 0 if after is None else self._offset("after", after).number
        now = milliseconds(self._clock.now())
        events = await self._journal.history(room, after=start, limit=limit + 1, now=now)
        has_more = len(events) > limit
        if not has_more and sum(event.size for event in events) > MAX_HISTORY_BYTES:
            # The store has stopped at the last one, whether there was another or not.
            last = events[-1].number
            has_more = bool(await self._journal.history(room, after=last, limit=1, now=now))
        page = {
            "room": room,
            "events": [self._describe_event(event) for event in events[:limit]],
            "more": has_more,
        }
        if after is not None and start < self._journal.first_number - 1:
            page["complete"] = False
        return page

    async def delete_history(self, room: str) -> dict[str, Any]:
        """Delete the history of a room; nothing of it is replayed any more.

        Raises:
            StoreUnavailable: it could not be deleted.
        """
        return {"room": room, "deleted": await self._journal.delete_history(room)}

    def position(self, room: str) -> dict[str, Any]:
        """Return ``{"room", "offset"}``: what `joinRoom` takes as ``since`` to miss nothing."""
        return {"room": room, "offset": str(self._journal.offset(self._journal.last_number))}

    async def present_position(self, room: str) -> dict[str, Any]:
        """Return :meth:`position` once everything that was recorded anywhere is known here."""
        await self._journal.catch_up()
        return self.position(room)

    def _offset(self, field: str, text: str) -> Offset:
        offset = _parse_offset(field, text)
        if offset.epoch != self._journal.epoch:
            raise _no_offset(field)
        return offset

    def _describe_event(self, event: StoredEvent) -> dict[str, Any]:
        return {
            "offset": str(self._journal.offset(event.number)),
            "id": event.id,
            "event": event.event,
            "data": strict_json.loads(event.payload),
            "timestamp": format_timestamp(from_milliseconds(event.published_at)),
        }

    def _timestamp(self) -> str:
        return format_timestamp(self._clock.now())


def _parse_offset(field: str, text: str) -> Offset:
    offset = Offset.parse(text)
    if offset is None:
        raise _no_offset(field)
    return offset


def _no_offset(field: str) -> ValidationFailed:
    sentence = "Is not an offset of this log."
    return ValidationFailed(f"{field}: {sentence}", fields={field: [sentence]})
