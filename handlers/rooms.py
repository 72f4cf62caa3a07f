"""Rooms: which there are, who is in one, what it has had, and its place in the log."""

from gtower_realtime.answers import (
    HistoryDeleted,
    HistoryPage,
    RoomPosition,
    RoomPresence,
    RoomsPage,
    RoomSummary,
)
from gtower_realtime.directory import MAX_ROOMS_OF_A_PAGE, ROOMS_OF_A_PAGE
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.identity import check_may_address
from gtower_realtime.ports import Target
from gtower_realtime.schemas import MAX_OFFSET_LENGTH, MAX_PAGE
from gtower_realtime.service import DEFAULT_LIMIT
from handlers.base import ApiHandler
from handlers.routes import Parameter, Route, limit


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


class RoomsHandler(ApiHandler):
    """The rooms that have members, by name, in pages; with a limited key those of its prefixes."""

    scope = "read"

    async def get(self) -> None:
        """Answer ``{"rooms": [{"room", "clients"}], "next"}``; see `Directory.rooms`."""
        prefix = self.get_query_argument("prefix", "")
        limits = () if self.api_key is None else self.api_key.room_prefixes
        if limits and not prefix.startswith(limits):
            # Of those that the key is limited to, the ones that the wish covers.
            prefixes = tuple(limit for limit in limits if limit.startswith(prefix))
        else:
            prefixes = (prefix,)
        after = self.get_query_argument("after", None)
        limit = self.limit(MAX_ROOMS_OF_A_PAGE) or ROOMS_OF_A_PAGE
        missing = await self.roll_call()
        page = self.context.service.directory.rooms(prefixes, after, limit)
        self.reply(200, {**page, **missing})


class RoomSummaryHandler(RoomHandler):
    """How many are in a room, and its place in the log."""

    async def get(self, room: str) -> None:
        """Answer ``{"room", "clients", "users", "offset"}``."""
        self.check_room(room)
        missing = await self.roll_call()
        service = self.context.service
        self.reply(200, {**service.directory.room(room), **service.position(room), **missing})


class PresenceHandler(RoomHandler):
    """Who is in a room, whether or not it tells its members."""

    async def get(self, room: str) -> None:
        """Answer ``{"room", "clients": [{"clientId", "userId"?, "info"?}]}``."""
        self.check_room(room)
        missing = await self.roll_call()
        self.reply(200, {**self.context.service.list_present(room), **missing})


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

    async def get(self, room: str) -> None:
        """Answer ``{"room", "offset"}``: nothing that was recorded before is after it."""
        self.check_room(room)
        self.reply(200, await self.context.service.present_position(room))


def routes() -> list[Route]:
    """Return the routes about rooms."""
    return [
        Route(
            "/websocket/rooms",
            RoomsHandler,
            parameters=(
                Parameter("prefix", "What the rooms' names begin with.", {"type": "string"}),
                limit(MAX_ROOMS_OF_A_PAGE, ROOMS_OF_A_PAGE),
                Parameter("after", "`next` of the page before.", {"type": "string"}),
            ),
            answer=RoomsPage(),
        ),
        Route("/websocket/rooms/:room", RoomSummaryHandler, answer=RoomSummary()),
        Route("/websocket/rooms/:room/presence", PresenceHandler, answer=RoomPresence()),
        Route(
            "/websocket/rooms/:room/history",
            HistoryHandler,
            parameters=(
                Parameter(
                    "after",
                    "The offset of the last event of the page before.",
                    {"type": "string", "maxLength": MAX_OFFSET_LENGTH},
                ),
                limit(MAX_PAGE, DEFAULT_LIMIT),
            ),
            answer={"get": HistoryPage(), "delete": HistoryDeleted()},
            refusals=(StoreUnavailable,),
        ),
        Route("/websocket/rooms/:room/position", PositionHandler, answer=RoomPosition()),
    ]
