"""Publishing: an event to any mix of rooms, users, clients or everyone, and many at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gtower_realtime import strict_json
from gtower_realtime.answers import BatchReceipt, PublishReceipt
from gtower_realtime.batches import BatchItem
from gtower_realtime.errors import (
    RealtimeError,
    ReservedEvent,
    ValidationFailed,
)
from gtower_realtime.idempotency import check_key
from gtower_realtime.identity import check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery
from gtower_realtime.schemas import WHOLE, BatchSchema, PublishSchema, load
from handlers.routes import Route
from handlers.sending import IDEMPOTENCY_KEY, WAITING, Sending, SendingHandler

_PUBLISH = PublishSchema()
_BATCH = BatchSchema()


class PublishingHandler(SendingHandler):
    """A handler that reads what is to be published."""

    _has_looked = False

    async def read_publish(self, body: Any) -> Sending:
        """Return what a publish request asks for.

        Raises:
            ValidationFailed: it does not fit, or is for nobody.
            Forbidden: the caller's key may not address all of it.
        """
        wanted = load(_PUBLISH, body)
        payload = wanted.get("data", {})
        if not isinstance(payload, dict):
            sentence = "Must be a JSON object."
            raise ValidationFailed(f"data: {sentence}", fields={"data": [sentence]})
        target = _target(wanted)
        check_may_address(self.api_key, target)
        control = self.context.service.control
        if not self._has_looked and control.unknown_clients(target.clients):
            # Once for a request: what is nowhere then was not there when it began.
            self._has_looked = True
            await control.look_for(target.clients)
        unknown = control.unknown_clients(target.clients)
        if unknown:
            known = tuple(client for client in target.clients if client not in unknown)
            target = replace(target, clients=known)
        return Sending(
            event=wanted["event"],
            body=payload,
            target=target,
            message=f"Event '{wanted['event']}' published",
            delivery=Delivery(
                event_id=wanted.get("event_id"),
                ttl_seconds=wanted.get("ttl_seconds"),
                is_volatile=wanted.get("is_volatile", False),
            ),
            details={"unknownClients": unknown},
        )


class PublishHandler(PublishingHandler):
    """Sends an event to the union of its targets, one copy for each connection."""

    async def post(self) -> None:
        """Answer 201 with the receipt and ``unknownClients``, who are not there at all."""
        await self.send(await self.read_publish(self.json_object()))


class BatchHandler(PublishingHandler):
    """Sends up to 1,000 events, each as a publish request would, in one commit."""

    async def post(self) -> None:
        """Answer 201 with ``results``, a receipt or a refusal for each; ``success`` if all went.

        An ``Idempotency-Key`` holds for each event by its place in the list, unless it has an id.

        Raises:
            ValidationFailed: it asks to wait for acknowledgements, which a batch does not do.
        """
        if self.get_query_argument("wait", None) is not None:
            sentence = "A batch does not wait for acknowledgements; send the event by itself."
            raise ValidationFailed(f"wait: {sentence}", fields={"wait": [sentence]})
        bodies = load(_BATCH, self.json_object())["publish"]
        key = self.request.headers.get("Idempotency-Key")
        if key is not None:
            check_key(key)
        items = [await self._item(body, place, key) for place, body in enumerate(bodies)]
        outcomes = await self.context.service.send_batch(items)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, RealtimeError)]
        if refusals and len(refusals) == len(outcomes) and refusals[0].http_status == 503:
            # Nothing at all was taken up: that is an answer to the whole.
            raise refusals[0]
        for refusal in refusals:
            self.context.metrics.http_refused.labels(refusal.code).inc()
        results = [_refused(one) if isinstance(one, RealtimeError) else one[0] for one in outcomes]
        if outcomes and all(not isinstance(one, RealtimeError) and one[1] for one in outcomes):
            self.set_header("Idempotency-Replayed", "true")
        self.reply(201, {"success": not refusals, "results": results})

    async def _item(self, body: Any, place: int, key: str | None) -> BatchItem | RealtimeError:
        try:
            sending = await self.read_publish(body)
        except RealtimeError as refusal:
            return refusal
        own_id = sending.delivery.event_id
        if own_id is not None:
            scope: tuple[str, ...] | None = self.scope_of(own_id)
        else:
            scope = None if key is None else (*self.scope_of(str(place)), key)
        return BatchItem(
            sending.event,
            sending.body,
            sending.target,
            sending.delivery,
            sending.answer,
            scope,
            b"" if scope is None else strict_json.dumps(body).encode(),
        )


def _target(wanted: Mapping[str, Any]) -> Target:
    target = Target(
        rooms=tuple(wanted.get("rooms", ())),
        users=tuple(wanted.get("users", ())),
        clients=tuple(wanted.get("clients", ())),
        everyone=wanted.get("everyone", False),
        excluded=frozenset(wanted.get("excluded", ())),
    )
    if target.is_empty:
        sentence = "There is no target: give rooms, users, clients or all."
        raise ValidationFailed(sentence, fields={WHOLE: [sentence]})
    return target


def _refused(refusal: RealtimeError) -> dict[str, Any]:
    return {"success": False, "message": refusal.message, "error": refusal.as_dict()}


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route(
            "/websocket/publish",
            PublishHandler,
            body=_PUBLISH,
            parameters=(*WAITING, IDEMPOTENCY_KEY),
            success=201,
            answer=PublishReceipt(),
            refusals=(ReservedEvent,),
        ),
        Route(
            "/websocket/batch",
            BatchHandler,
            body=_BATCH,
            parameters=(IDEMPOTENCY_KEY,),
            success=201,
            answer=BatchReceipt(),
        ),
    ]
