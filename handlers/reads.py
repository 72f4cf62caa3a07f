"""HTTP reads: what is going on in the server."""

from datetime import datetime

from gtower_realtime.answers import (
    AnalyticsPage,
    ClientStatus,
    ConnectedClient,
    EventTrace,
    ServerStatus,
    UserStatus,
)
from gtower_realtime.errors import StoreUnavailable, UnknownEventId, ValidationFailed
from gtower_realtime.identity import check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.timestamps import parse_timestamp
from gtower_realtime.traces import CLIENTS_OF_A_PAGE, MAX_CLIENTS_OF_A_PAGE
from handlers.base import ApiHandler
from handlers.routes import Parameter, Route, limit

_MAX_CLIENTS = 1000
_ID = {"type": "string"}
_MOMENT = {"type": "string", "format": "date-time"}


class StatusHandler(ApiHandler):
    """``{"connectedClients", "status", "timestamp"}``."""

    scope = "read"

    async def get(self) -> None:
        """Answer with the state of the server."""
        missing = await self.roll_call()
        self.reply(200, {**self.context.service.status(), **missing})


class ClientsHandler(ApiHandler):
    """The connected clients in order of connection, in pages if asked for."""

    scope = "read"

    async def get(self) -> None:
        """Answer with all clients, or with at most ``limit`` of those ``after`` a client id.

        An array has no place to say which processes did not answer: headers do.
        """
        check_may_address(self.api_key, Target.all())
        after = self.get_query_argument("after", None)
        limit = self.limit(_MAX_CLIENTS)
        missing = await self.roll_call()
        if missing:
            self.set_header("X-Partial", "true")
            self.set_header("X-Nodes-Missing", ", ".join(missing["nodesMissing"]))
        self.reply(200, self.context.service.directory.clients(after, limit))


class ClientStatusHandler(ApiHandler):
    """Whether one client is connected."""

    scope = "read"

    async def get(self, id: str) -> None:  # noqa: A002
        """Answer ``{"clientId", "connected", "timestamp"}``; an unknown client is not connected."""
        self.check_name("clientId", id)
        check_may_address(self.api_key, Target.client(id))
        missing = await self.roll_call()
        self.reply(200, {**self.context.service.directory.client_status(id), **missing})


class UserHandler(ApiHandler):
    """Whether a user is connected, and with which clients."""

    scope = "read"

    async def get(self, id: str) -> None:  # noqa: A002
        """Answer ``{"userId", "connected", "clients"}``, ``clients`` being ids."""
        self.check_name("userId", id)
        check_may_address(self.api_key, Target.user(id))
        missing = await self.roll_call()
        self.reply(200, {**self.context.service.directory.user(id), **missing})


class TraceHandler(ApiHandler):
    """What became of an event: whom it was for, and how far it got at each client."""

    scope = "read"

    async def get(self, id: str) -> None:  # noqa: A002
        """Answer with the event and the ``state`` of each client; see `Gathering.trace`.

        ``client`` and ``user`` ask for these clients, whether or not it was for them.
        """
        service = self.context.service
        event = service.traces.find(id)
        check_may_address(self.api_key, event.target)
        client_id, user_id = (self.get_query_argument(name, None) for name in ("client", "user"))
        after = self.get_query_argument("after", None)
        limit = self.limit(MAX_CLIENTS_OF_A_PAGE) or CLIENTS_OF_A_PAGE
        self.reply(200, await service.gathering.trace(event, client_id, user_id, after, limit))


class AnalyticsHandler(ApiHandler):
    """What happened minute by minute, at most a day of it; the last hour if nothing is said."""

    scope = "read"

    async def get(self) -> None:
        """Answer ``{"from", "to", "step", "points"}``; see `Gathering.points`."""
        start, end = self._moment("from"), self._moment("to")
        self.reply(200, await self.context.service.gathering.points(start, end))

    def _moment(self, name: str) -> datetime | None:
        text = self.get_query_argument(name, None)
        if text is None:
            return None
        try:
            return parse_timestamp(text)
        except ValueError as problem:
            sentence = f"Must be an ISO 8601 time: {problem}."
            raise ValidationFailed(f"{name}: {sentence}", fields={name: [sentence]}) from None


def routes() -> list[Route]:
    """Return the routes of all reads."""
    return [
        Route("/websocket/status", StatusHandler, answer=ServerStatus()),
        Route(
            "/websocket/clients",
            ClientsHandler,
            parameters=(
                limit(_MAX_CLIENTS, _MAX_CLIENTS),
                Parameter("after", "The last client id of the page before.", {"type": "string"}),
            ),
            answer=ConnectedClient(many=True),
        ),
        Route("/websocket/clients/:id/status", ClientStatusHandler, answer=ClientStatus()),
        Route("/websocket/users/:id", UserHandler, answer=UserStatus()),
        Route(
            "/websocket/events/:id",
            TraceHandler,
            parameters=(
                Parameter("client", "A client to tell of, whoever the event was for.", _ID),
                Parameter("user", "A user whose clients to tell of.", _ID),
                limit(MAX_CLIENTS_OF_A_PAGE, CLIENTS_OF_A_PAGE),
                Parameter("after", "The last client id of the page before.", _ID),
            ),
            answer=EventTrace(),
            refusals=(UnknownEventId,),
        ),
        Route(
            "/websocket/analytics",
            AnalyticsHandler,
            parameters=(
                Parameter("from", "The first minute; an hour before `to` if absent.", _MOMENT),
                Parameter("to", "Until before this; now if absent.", _MOMENT),
            ),
            answer=AnalyticsPage(),
            refusals=(StoreUnavailable,),
        ),
    ]
