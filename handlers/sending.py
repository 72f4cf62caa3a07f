"""What all requests that send an event share: the receipt as answer, and Idempotency-Key."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gtower_realtime.ack_waits import MAX_WAIT_SECONDS
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.idempotency import MAX_KEY_LENGTH
from gtower_realtime.ports import Target
from gtower_realtime.publishing import AS_USUAL, Delivery
from handlers.base import ApiHandler
from handlers.routes import Parameter

_USUAL_TIMEOUT = "2000"

# Behind a body, it is no JSON and so no other body.
_WAITS = b"?wait=ack"
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "The same key with the same body gives the first answer again and sends nothing.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
    "header",
)
WAITING = (
    Parameter(
        "wait",
        "Answer when the clients' listeners have called their callback.",
        {"type": "string", "enum": ["ack"]},
    ),
    Parameter(
        "timeout",
        "For how many milliseconds to wait at most.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": round(MAX_WAIT_SECONDS * 1000),
            "default": int(_USUAL_TIMEOUT),
        },
    ),
)
"""What requests take that may wait for acknowledgements."""


@dataclass(slots=True)
class Sending:
    """What a request wants sent; ``details`` are added to the answer."""

    event: str
    body: Mapping[str, Any]
    target: Target
    message: str
    delivery: Delivery = AS_USUAL
    details: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, receipt: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to the request when its event has this receipt."""
        return {"success": True, "message": self.message, **receipt, **self.details}


class SendingHandler(ApiHandler):
    """A handler of requests that send an event."""

    scope = "publish"

    _caller_gone: "asyncio.Future[None] | None" = None

    async def send(self, sending: Sending) -> None:
        """Answer 201 with the receipt, the first one again to a key that was used before.

        Raises as `RealtimeService.send` and `OnceOnly.run` do.
        """

        if self.request.query:
            sending.delivery = self._waiting(sending.delivery)
        service = self.context.service
        event, body, target = sending.event, sending.body, sending.target
        key = self.request.headers.get("Idempotency-Key", sending.delivery.event_id)
        if key is None:
            receipt = await service.send(event, body, target, sending.delivery)
            self.reply(201, sending.answer(receipt.as_dict()))
            return
        scope = self.scope_of(key)
        request = self.body()
        if sending.delivery.ack_seconds is not None:
            # With other fields in the answer it is another request; how long to wait is not.
            request += _WAITS
        answer, is_replayed = await service.send_once(
            scope, request, sending.answer, event, body, target, sending.delivery
        )
        if is_replayed:
            self.set_header("Idempotency-Replayed", "true")
        self.reply(201, answer)

    def _waiting(self, delivery: Delivery) -> Delivery:
        """Return the delivery with what the query says about waiting: ``wait=ack&timeout=2000``."""
        milliseconds = self._timeout()
        wait = self.get_query_argument("wait", None)
        if wait is None:
            return delivery
        if wait != "ack":
            sentence = "Must be ack."
            raise ValidationFailed(f"wait: {sentence}", fields={"wait": [sentence]})
        self._caller_gone = asyncio.get_running_loop().create_future()
        return replace(delivery, ack_seconds=milliseconds / 1000, caller_gone=self._caller_gone)

    def _timeout(self) -> int:
        text = self.get_query_argument("timeout", _USUAL_TIMEOUT)
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            text = "0"
        if not 1 <= int(text) <= MAX_WAIT_SECONDS * 1000:
            sentence = f"Must be milliseconds from 1 to {round(MAX_WAIT_SECONDS * 1000)}."
            raise ValidationFailed(f"timeout: {sentence}", fields={"timeout": [sentence]})
        return int(text)

    def on_connection_close(self) -> None:
        """Give the place of a caller that has hung up to the next one that wants to wait."""
        super().on_connection_close()
        if self._caller_gone is not None and not self._caller_gone.done():
            self._caller_gone.set_result(None)

    def scope_of(self, key: str) -> tuple[str, ...]:
        """Return within what an idempotency key means one request: the caller, the path."""
        caller = "" if self.api_key is None else self.api_key.name
        return (caller, "POST", self.request.path.rstrip("/"), key)
