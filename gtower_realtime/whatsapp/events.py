"""What agents are told of a message or status. Pure functions.

`whatsappMessage`: ``{"conversationId", "customerId", "whatsappNumber", "whatsappMessageId",
"senderType", "messageType", "content", "status", "metadata": {"message", "metadata",
"customerData"}, "isTemplate", "templateName", "timestamp"}``. `whatsappMessageStatus`:
``{"messageId", "status", "customerId", "timestamp", "errors"?}``.
"""

from datetime import datetime
from typing import Any

from gtower_realtime.timestamps import format_timestamp
from gtower_realtime.whatsapp.contents import readable_content
from gtower_realtime.whatsapp.payloads import Message, Status, Update

MESSAGE = "whatsappMessage"
STATUS = "whatsappMessageStatus"


def event_of(update: Update, customer_id: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return the event's name and payload; ``now`` counts where Meta tells no time."""
    if isinstance(update, Message):
        return MESSAGE, _message(update, customer_id, now)
    return STATUS, _status(update, customer_id, now)


def _message(message: Message, customer_id: str, now: datetime) -> dict[str, Any]:
    return {
        "conversationId": f"wa:{message.phone_number_id}:{message.number}",
        "customerId": customer_id,
        "whatsappNumber": message.number,
        "whatsappMessageId": message.id,
        "senderType": "customer",
        "messageType": message.type,
        "content": readable_content(message.message),
        "status": "delivered",
        "metadata": {
            "message": message.message,
            "metadata": message.metadata,
            "customerData": message.contact,
        },
        "isTemplate": False,
        "templateName": "",
        "timestamp": format_timestamp(message.sent_at or now),
    }


def _status(status: Status, customer_id: str, now: datetime) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "messageId": status.id,
        "status": status.word,
        "customerId": customer_id,
        "timestamp": format_timestamp(status.sent_at or now),
    }
    errors = status.status.get("errors")
    if isinstance(errors, list) and errors:
        payload["errors"] = errors
    return payload
