"""`POST /websocket/publish`: one event to any mix of rooms, users, clients or everyone."""

from dataclasses import replace

from gtower_realtime.errors import ValidationFailed
from gtower_realtime.identity import check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery
from gtower_realtime.schemas import WHOLE, PublishSchema, load
from handlers.routes import Route
from handlers.sending import Sending, SendingHandler

_SCHEMA = PublishSchema()


class PublishHandler(SendingHandler):
    """Sends an event to the union of its targets, one copy for each connection."""

    async def post(self) -> None:
        """Answer 201 with the receipt and ``unknownClients``, who are not there at all."""
        wanted = load(_SCHEMA, self.json_object())
        body = wanted["data"]
        if not isinstance(body, dict):
            sentence = "Must be a JSON object."
            raise ValidationFailed(f"data: {sentence}", fields={"data": [sentence]})
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
        check_may_address(self.api_key, target)
        unknown = self.context.service.unknown_clients(target.clients)
        known = tuple(client for client in target.clients if client not in unknown)
        await self.send(
            Sending(
                event=wanted["event"],
                body=body,
                target=replace(target, clients=known),
                message=f"Event '{wanted['event']}' published",
                delivery=Delivery(
                    event_id=wanted.get("event_id"),
                    ttl_seconds=wanted.get("ttl_seconds"),
                    is_volatile=wanted.get("is_volatile", False),
                ),
                details={"unknownClients": unknown},
            )
        )


def routes() -> list[Route]:
    """Return the route."""
    return [Route("/websocket/publish", PublishHandler)]
