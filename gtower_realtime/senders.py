"""A method for each event and target that code in the same process sends to; all end in one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.ports import Target
from gtower_realtime.publishing import AS_USUAL, Delivery, Receipt
from gtower_realtime.schemas import WHOLE


class Senders(ABC):
    """Sends by name what :meth:`send` sends in general."""

    @abstractmethod
    async def send(
        self,
        event: str,
        body: Mapping[str, Any],
        target: Target,
        delivery: Delivery = AS_USUAL,
    ) -> Receipt:
        """Publish an event; see `RealtimeService.send`."""

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
