"""A back-end's WhatsApp service, whose agents see each message as soon as it is sent."""

import logging
from typing import Protocol

from gtower_realtime.errors import RealtimeError
from gtower_realtime.names import WHATSAPP_GENERAL_ROOM, whatsapp_customer_room
from gtower_realtime.service import RealtimeService

logger = logging.getLogger(__name__)


class WhatsAppApi(Protocol):
    """What sends WhatsApp messages: Meta's Cloud API, or a stand-in for it."""

    async def send_text(self, number: str, text: str) -> str:
        """Send ``text`` to ``number`` and return the id of the message."""


class WhatsAppService:
    """Sends messages to customers and shows them to the agents who look on."""

    def __init__(self, realtime: RealtimeService, api: WhatsAppApi) -> None:
        self._realtime = realtime
        self._api = api

    async def send_text(self, customer_id: str, number: str, text: str) -> str:
        """Send a message to a customer and return its id.

        Agents who follow all WhatsApp traffic or this customer get `whatsappMessageSent`
        ``{"messageId", "customerId", "content", "timestamp"}``, those who do both get it once.
        """
        message_id = await self._api.send_text(number, text)
        rooms = (WHATSAPP_GENERAL_ROOM, whatsapp_customer_room(customer_id))
        message = {"messageId": message_id, "customerId": customer_id, "content": text}
        try:
            await self._realtime.send_event_to_rooms(rooms, "whatsappMessageSent", message)
        except RealtimeError as refusal:
            # The customer has the message. Failing now would make somebody send it again.
            logger.warning("agents were not told of %s: %s", message_id, refusal.code)
        return message_id
