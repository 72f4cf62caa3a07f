"""HTTP reads: what is going on in the server."""

from gtower_realtime.errors import ValidationFailed
from handlers.base import ApiHandler
from handlers.routes import Route

_MAX_LIMIT = 1000


class StatusHandler(ApiHandler):
    """``{"connectedClients", "status", "timestamp"}``."""

    scope = "read"

    def get(self) -> None:
        """Answer with the state of the server."""
        self.reply(200, self.context.service.status())


class ClientsHandler(ApiHandler):
    """The connected clients in order of connection, in pages if asked for."""

    scope = "read"

    def get(self) -> None:
        """Answer with all clients, or with at most ``limit`` of those ``after`` a client id."""
        after = self.get_query_argument("after", None)
        self.reply(200, self.context.service.clients(after, self._limit()))

    def _limit(self) -> int | None:
        text = self.get_query_argument("limit", None)
        if text is None:
            return None
        # isdigit alone takes digits of other scripts; the length spares int() from a huge number.
        if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= _MAX_LIMIT:
            return int(text)
        sentence = f"Must be a whole number from 1 to {_MAX_LIMIT}."
        raise ValidationFailed(f"limit: {sentence}", fields={"limit": [sentence]})


class ClientStatusHandler(ApiHandler):
    """Whether one client is connected."""

    scope = "read"

    def get(self, id: str) -> None:  # noqa: A002
        """Answer ``{"clientId", "connected", "timestamp"}``; an unknown client is not connected."""
        self.reply(200, self.context.service.client_status(id))


def routes() -> list[Route]:
    """Return the routes of all reads."""
    return [
        Route("/websocket/status", StatusHandler),
        Route("/websocket/clients", ClientsHandler),
        Route("/websocket/clients/:id/status", ClientStatusHandler),
    ]
