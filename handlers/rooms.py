"""What a room has had: reading, its place in the log, and deleting it."""

from gtower_realtime.identity import check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.schemas import MAX_PAGE
from gtower_realtime.service import DEFAULT_LIMIT
from handlers.base import ApiHandler
from handlers.routes import Route


class RoomHandler(ApiHandler):
    """A handler about one room, which the caller's key must be allowed to address."""

    scope = "read"

    def check_room(self, room: str) -> None:
        """Check the room's name and the key's right to it.

        Raises:
            InvalidName: it is no room name.
            Forbidden: the key is limited to other rooms.
        """
        self.check_name("room", room)
        check_may_address(self.api_key, Target.room(room))


class HistoryHandler(RoomHandler):
    """The stored events of a room."""

    async def get(self, room: str) -> None:
        """Answer with a page of events, oldest first, after the offset ``after``."""
        self.check_room(room)
        after = self.get_query_argument("after", None)
        limit = self.limit(MAX_PAGE) or DEFAULT_LIMIT
        self.reply(200, await self.context.service.history(room, after, limit))

    async def delete(self, room: str) -> None:
        """Delete the room's history; nothing of it is replayed any more."""
        self.check_room(room)
        self.reply(200, await self.context.service.delete_history(room))


class PositionHandler(RoomHandler):
    """Where the log is: what a page that is rendered now joins ``since``."""

    def get(self, room: str) -> None:
        """Answer ``{"room", "offset"}``."""
        self.check_room(room)
        self.reply(200, self.context.service.position(room))


def routes() -> list[Route]:
    """Return the routes about rooms."""
    return [
        Route("/websocket/rooms/:room/history", HistoryHandler),
        Route("/websocket/rooms/:room/position", PositionHandler),
    ]
