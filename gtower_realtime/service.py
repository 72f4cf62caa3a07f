"""Everything the server does, as plain methods: what clients ask for, and what back-ends send.

Knows no Tornado, no Socket.IO and no database: it talks to `ports.Transport` and `ports.EventLog`.
Code in the same process uses the methods of "Sending" directly; see docs/embedding.md.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gtower_realtime import strict_json
from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.errors import (
    Draining,
    Forbidden,
    RealtimeError,
    TooManyRooms,
    UnknownClient,
    ValidationFailed,
)
from gtower_realtime.events.server import (
    SERVER_EVENTS,
    build_payload,
    check_publishable,
    server_event,
)
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import (
    WHATSAPP_GENERAL_ROOM,
    is_user_room,
    user_room,
    whatsapp_customer_room,
)
from gtower_realtime.ports import (
    Clock,
    EventLog,
    Offset,
    Payload,
    Publication,
    Target,
    Transport,
)
from gtower_realtime.schemas import WHOLE
from gtower_realtime.timestamps import format_timestamp

ServiceState = Literal["active", "draining", "degraded"]

WELCOME = "Successfully connected to WebSocket server"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a published event.

    ``recipients`` distinct live connections were handed it; ``pending`` sessions are away and will
    get it when they return. ``offset`` is its place in the log, None for an event that is not
    stored.
    """

    id: str
    recipients: int
    pending: int
    offset: Offset | None

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"id", "recipients", "pending", "offset"?}``."""
        shape: dict[str, Any] = {
            "id": self.id,
            "recipients": self.recipients,
            "pending": self.pending,
        }
        if self.offset is not None:
            shape["offset"] = str(self.offset)
        return shape


class RealtimeService:
    """The realtime server without its wires.

    ``max_rooms_per_client`` 0 is no limit. With ``announces_clients`` false nobody is told of
    others coming and going.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        log: EventLog,
        clients: ClientRegistry,
        clock: Clock,
        metrics: Metrics,
        max_rooms_per_client: int = 128,
        announces_clients: bool = True,
    ) -> None:
        self._transport = transport
        self._log = log
        self._clients = clients
        self._clock = clock
        self._metrics = metrics
        self._max_rooms_per_client = max_rooms_per_client
        self._announces_clients = announces_clients
        self.state: ServiceState = "active"
        metrics.clients.set_function(lambda: len(clients))

    # Life

    def refusal_of_new_work(self) -> RealtimeError | None:
        """Return why nothing new is taken up at the moment; None when it is."""
        if self.state == "draining":
            return Draining("The server is going down.", headers={"Retry-After": "1"})
        return None

    def failing_parts(self) -> list[str]:
        """Return the parts that keep this process from taking new connections."""
        return ["draining"] if self.state == "draining" else []

    def drain(self, spread_seconds: float) -> None:
        """Take up nothing new, and tell each client when to come back, spread over the time."""
        self.state = "draining"
        for client in self._clients:
            reconnect_in_ms = secrets.randbelow(round(spread_seconds * 1000) + 1)
            self._transport.send(
                client.id,
                "serverShutdown",
                {"reconnectInMs": reconnect_in_ms, "timestamp": self._timestamp()},
            )

    # Connections

    def client_connected(self, client: Client) -> None:
        """Take up a client that was accepted: it hears `connected`, the others `clientJoined`."""
        self._clients.add(client)
        if client.user_id is not None:
            self._transport.enter_room(client.id, user_room(client.user_id))
        self._transport.send(
            client.id,
            "connected",
            {
                "message": WELCOME,
                "clientId": client.id,
                "timestamp": self._timestamp(),
                "recovered": False,
            },
        )
        self._announce("clientJoined", client.id)

    def client_disconnected(self, client_id: str) -> None:
        """Forget a client that is gone; the others hear `clientLeft`. Idempotent."""
        if self._clients.remove(client_id) is not None:
            self._announce("clientLeft", client_id)

    def _announce(self, event: str, client_id: str) -> None:
        if self._announces_clients:
            self._transport.deliver(
                event,
                {"clientId": client_id, "timestamp": self._timestamp()},
                Target.all(excluded=frozenset({client_id})),
                droppable=True,
            )

    # What clients ask for: the methods of the client-event table

    async def relay_message(self, client_id: str, message: Any) -> dict[str, Any]:
        """Send ``message`` unchanged to all others and tell the sender; return the receipt."""
        receipt = await self._publish(
            "messageBroadcast",
            {"from": client_id, "message": message, "timestamp": self._timestamp()},
            Target.all(excluded=frozenset({client_id})),
        )
        self._transport.send(
            client_id,
            "messageReceived",
            {"originalMessage": message, "receivedAt": self._timestamp()},
        )
        return receipt.as_dict()

    async def relay_room_message(self, client_id: str, room: str, message: Any) -> dict[str, Any]:
        """Send ``message`` unchanged to the room's members, the sender among them if it is one.

        Raises:
            Forbidden: the room belongs to the server.
        """
        self._check_not_the_servers(room)
        receipt = await self._publish(
            "roomMessage",
            {"from": client_id, "room": room, "message": message, "timestamp": self._timestamp()},
            Target.room(room),
        )
        return receipt.as_dict()

    async def join_room(self, client_id: str, room: str) -> dict[str, Any]:
        """Make the client a member and tell it with `roomJoined`; joining twice is joining once.

        Raises:
            Forbidden: the room belongs to the server.
            TooManyRooms: the client is in as many rooms as it may be.
        """
        return self._enter(client_id, room, "roomJoined")

    async def leave_room(self, client_id: str, room: str) -> dict[str, Any]:
        """End the membership, if there is one, and tell the client with `roomLeft`.

        Raises:
            Forbidden: the room belongs to the server.
        """
        return self._leave(client_id, room, "roomLeft")

    async def join_whatsapp_general(self, client_id: str) -> dict[str, Any]:
        """Let the client see all WhatsApp traffic; it hears `whatsappGeneralJoined`."""
        return self._enter(client_id, WHATSAPP_GENERAL_ROOM, "whatsappGeneralJoined")

    async def join_whatsapp_customer(self, client_id: str, customer_id: str) -> dict[str, Any]:
        """Let the client follow a customer; it hears `whatsappCustomerJoined`."""
        room = whatsapp_customer_room(customer_id)
        return self._enter(client_id, room, "whatsappCustomerJoined", customerId=customer_id)

    async def leave_whatsapp_customer(self, client_id: str, customer_id: str) -> dict[str, Any]:
        """Let the client stop following a customer; it hears `whatsappCustomerLeft`."""
        room = whatsapp_customer_room(customer_id)
        return self._leave(client_id, room, "whatsappCustomerLeft", customerId=customer_id)

    def _enter(self, client_id: str, room: str, event: str, **details: str) -> dict[str, Any]:
        self._check_not_the_servers(room)
        joined = [name for name in self._transport.rooms_of(client_id) if not is_user_room(name)]
        if 0 < self._max_rooms_per_client <= len(joined) and room not in joined:
            raise TooManyRooms(
                f"You are in {len(joined)} rooms, as many as one client may be; leave one first."
            )
        self._transport.enter_room(client_id, room)
        return self._tell_membership(client_id, room, event, details)

    def _leave(self, client_id: str, room: str, event: str, **details: str) -> dict[str, Any]:
        self._check_not_the_servers(room)
        self._transport.leave_room(client_id, room)
        return self._tell_membership(client_id, room, event, details)

    def _tell_membership(
        self, client_id: str, room: str, event: str, details: Mapping[str, str]
    ) -> dict[str, Any]:
        payload = {"room": room, **details, "timestamp": self._timestamp()}
        self._transport.send(client_id, event, payload)
        return {"room": room}

    def _check_not_the_servers(self, room: str) -> None:
        if is_user_room(room) or room in self._clients:
            raise Forbidden(f"The room {room!r} belongs to the server; choose another name.")

    # Sending: what back-ends and code in the same process use

    async def send(self, event: str, body: Mapping[str, Any], target: Target) -> Receipt:
        """Publish an event of a back-end; return its receipt once it is recorded and handed over.

        ``body`` is checked by the event's schema, if it has one, and timestamped.

        Raises:
            ReservedEvent: only the server, or Socket.IO itself, says ``event``.
            ValidationFailed: ``event`` is no event name, or ``body`` does not fit the event.
            UnknownClient: ``target`` is one client that is not there. Nothing is stored.
            Draining: the server is going down. Nothing is stored.
            StoreUnavailable: it could not be recorded, and nobody has seen it.
        """
        refusal = self.refusal_of_new_work()
        if refusal is not None:
            raise refusal
        check_publishable(event)
        payload = build_payload(event, body, self._clock.now())
        for client_id in target.clients:
            if client_id not in self._clients:
                raise UnknownClient(f"Client {client_id} is not connected.")
        return await self._publish(event, payload, target)

    async def notify_client(self, client_id: str, notification: Mapping[str, Any]) -> Receipt:
        """Send `notification` to one client. Raises as :meth:`send` does."""
        return await self.send_event_to_client(client_id, "notification", notification)

    async def notify_room(self, room: str, notification: Mapping[str, Any]) -> Receipt:
        """Send `notification` to a room. Raises as :meth:`send` does."""
        return await self.send_event_to_room(room, "notification", notification)

    async def notify_user(self, user_id: str, notification: Mapping[str, Any]) -> Receipt:
        """Send `notification` to all connections of a user. Raises as :meth:`send` does."""
        return await self.send_event_to_user(user_id, "notification", notification)

    async def broadcast_notification(self, notification: Mapping[str, Any]) -> Receipt:
        """Send `notification` to everyone. Raises as :meth:`send` does."""
        return await self.broadcast_event("notification", notification)

    async def send_chat_to_client(self, client_id: str, message: Mapping[str, Any]) -> Receipt:
        """Send `chatMessage` to one client. Raises as :meth:`send` does."""
        return await self.send_event_to_client(client_id, "chatMessage", message)

    async def send_chat_to_room(self, room: str, message: Mapping[str, Any]) -> Receipt:
        """Send `chatMessage` to a room. Raises as :meth:`send` does."""
        return await self.send_event_to_room(room, "chatMessage", message)

    async def send_chat_to_user(self, user_id: str, message: Mapping[str, Any]) -> Receipt:
        """Send `chatMessage` to all connections of a user. Raises as :meth:`send` does."""
        return await self.send_event_to_user(user_id, "chatMessage", message)

    async def send_whatsapp_status(self, client_id: str, status: Mapping[str, Any]) -> Receipt:
        """Send `whatsappStatusUpdate` to one client. Raises as :meth:`send` does."""
        return await self.send_event_to_client(client_id, "whatsappStatusUpdate", status)

    async def send_whatsapp_message_update(
        self, client_id: str, update: Mapping[str, Any]
    ) -> Receipt:
        """Send `whatsappMessageUpdate` to one client. Raises as :meth:`send` does."""
        return await self.send_event_to_client(client_id, "whatsappMessageUpdate", update)

    async def send_conversation_update(self, client_id: str, update: Mapping[str, Any]) -> Receipt:
        """Send `conversationUpdate` to one client. Raises as :meth:`send` does."""
        return await self.send_event_to_client(client_id, "conversationUpdate", update)

    async def send_event_to_client(
        self, client_id: str, event: str, body: Mapping[str, Any]
    ) -> Receipt:
        """Send any event to one client. Raises as :meth:`send` does."""
        return await self._send_own(event, body, Target.client(client_id))

    async def send_event_to_room(self, room: str, event: str, body: Mapping[str, Any]) -> Receipt:
        """Send any event to a room. Raises as :meth:`send` does."""
        return await self._send_own(event, body, Target.room(room))

    async def send_event_to_rooms(
        self, rooms: tuple[str, ...], event: str, body: Mapping[str, Any]
    ) -> Receipt:
        """Send any event to the union of rooms, one copy each. Raises as :meth:`send` does."""
        return await self._send_own(event, body, Target(rooms=rooms))

    async def send_event_to_user(
        self, user_id: str, event: str, body: Mapping[str, Any]
    ) -> Receipt:
        """Send any event to all connections of a user. Raises as :meth:`send` does."""
        return await self._send_own(event, body, Target.user(user_id))

    async def broadcast_event(self, event: str, body: Mapping[str, Any]) -> Receipt:
        """Send any event to everyone. Raises as :meth:`send` does."""
        return await self._send_own(event, body, Target.all())

    async def _send_own(self, event: str, body: Mapping[str, Any], target: Target) -> Receipt:
        # A body from HTTP was parsed strictly; one from Python code may hold anything.
        try:
            strict_json.check(body)
        except ValueError as problem:
            sentence = f"The body cannot be sent as JSON: {problem}."
            raise ValidationFailed(sentence, fields={WHOLE: [sentence]}) from None
        return await self.send(event, body, target)

    # Asking

    def status(self) -> dict[str, Any]:
        """Return ``{"connectedClients", "status", "timestamp"}``."""
        return {
            "connectedClients": len(self._clients),
            "status": self.state,
            "timestamp": self._timestamp(),
        }

    def clients(self, after: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the connected clients in order of connection; see `ClientRegistry.page`.

        Raises:
            ValidationFailed: ``after`` is no client that was ever here, or left long ago.
        """
        page = self._clients.page(after, limit)
        if page is None:
            raise ValidationFailed(
                "after: There is no such client.", fields={"after": ["There is no such client."]}
            )
        return [self._describe(client) for client in page]

    def client_status(self, client_id: str) -> dict[str, Any]:
        """Return ``{"clientId", "connected", "timestamp"}``; of an unknown one ``false``."""
        return {
            "clientId": client_id,
            "connected": client_id in self._clients,
            "timestamp": self._timestamp(),
        }

    def _describe(self, client: Client) -> dict[str, Any]:
        metadata = {"ip": client.address}
        if client.user_agent is not None:
            metadata["userAgent"] = client.user_agent
        description = {
            "id": client.id,
            "connectedAt": format_timestamp(client.connected_at),
            "metadata": metadata,
            "rooms": self._transport.rooms_of(client.id),
            "transport": self._transport.transport_of(client.id),
        }
        if client.user_id is not None:
            description["userId"] = client.user_id
        return description

    # One event's way: number and record, then deliver, then answer

    async def _publish(self, event: str, payload: Payload, target: Target) -> Receipt:
        publication = Publication(
            id=secrets.token_urlsafe(12),
            event=event,
            payload=payload,
            target=target,
            published_at=self._clock.now(),
        )
        offset = await self._log.append(publication) if server_event(event).stored else None
        recipients = self._transport.deliver(event, payload, target)
        label = event if event in SERVER_EVENTS else "custom"
        self._metrics.events_published.labels(label).inc()
        self._metrics.deliveries.inc(recipients)
        return Receipt(id=publication.id, recipients=recipients, pending=0, offset=offset)

    def _timestamp(self) -> str:
        return format_timestamp(self._clock.now())
