"""Control: clients and users that are sent away, or put into rooms."""

from gtower_realtime.answers import Disconnected, Done
from gtower_realtime.errors import Overloaded, StoreUnavailable, TooManyRooms, UnknownClient
from gtower_realtime.identity import check_may_address
from gtower_realtime.peers import Missing, told_missing
from gtower_realtime.ports import Target
from gtower_realtime.schemas import DisconnectSchema, load
from handlers.base import ApiHandler
from handlers.routes import Route

_SCHEMA = DisconnectSchema()
_REASON = "disconnected by the server"


class DisconnectHandler(ApiHandler):
    """A handler that cuts connections; ``reconnect`` says whether their clients may come back."""

    scope = "admin"

    def reply_disconnected(self, who: str, count: int, missing: Missing) -> None:
        """Answer how many connections were cut, and which processes did not tell."""
        answer = {"success": True, "message": f"{who} disconnected", "disconnected": count}
        self.reply(200, {**answer, **told_missing(missing)})

    def read_wish(self) -> tuple[str, bool]:
        """Return the reason that clients are told, and whether they may come back.

        Raises as `json_object` and `load` do.
        """
        wish = load(_SCHEMA, self.json_object())
        return wish.get("reason", _REASON), wish.get("reconnect", False)


class ClientDisconnectHandler(DisconnectHandler):
    """Cuts a client off. Unless it may reconnect, it is told to stay away and cannot recover."""

    async def post(self, id: str) -> None:  # noqa: A002
        """Answer 200 with ``disconnected``: 1, or 0 for a client that was away."""
        self.check_name("clientId", id)
        check_may_address(self.api_key, Target.client(id))
        reason, reconnect = self.read_wish()
        control = self.context.service.control
        count, missing = await control.disconnect_client(id, reason, reconnect=reconnect)
        self.reply_disconnected(f"Client {id}", count, missing)


class UserDisconnectHandler(DisconnectHandler):
    """Cuts off all connections of a user, and ends what is kept for those that are away."""

    async def post(self, id: str) -> None:  # noqa: A002
        """Answer 200 with ``disconnected``, how many connections were cut."""
        self.check_name("userId", id)
        check_may_address(self.api_key, Target.user(id))
        reason, reconnect = self.read_wish()
        control = self.context.service.control
        count, missing = await control.disconnect_user(id, reason, reconnect=reconnect)
        self.reply_disconnected(f"User {id}", count, missing)


class MembershipHandler(ApiHandler):
    """Puts a client into a room, or takes it out, as if it had asked for that itself."""

    scope = "admin"

    async def put(self, id: str, room: str) -> None:  # noqa: A002
        """Answer 200 once the membership is recorded; the client hears `roomJoined`."""
        self._check(id, room)
        await self.context.service.control.put_into_room(id, room)
        self.reply(200, {"success": True, "message": f"Client {id} joined room {room}"})

    async def delete(self, id: str, room: str) -> None:  # noqa: A002
        """Answer 200 once its end is recorded; the client hears `roomLeft`."""
        self._check(id, room)
        await self.context.service.control.take_out_of_room(id, room)
        self.reply(200, {"success": True, "message": f"Client {id} left room {room}"})

    def _check(self, client_id: str, room: str) -> None:
        self.check_name("clientId", client_id)
        self.check_name("room", room)
        check_may_address(self.api_key, Target.room(room))


def routes() -> list[Route]:
    """Return the routes of control."""
    return [
        Route(
            "/websocket/clients/:id/disconnect",
            ClientDisconnectHandler,
            body=_SCHEMA,
            answer=Disconnected(),
            refusals=(UnknownClient, StoreUnavailable, Overloaded),
        ),
        Route(
            "/websocket/users/:id/disconnect",
            UserDisconnectHandler,
            body=_SCHEMA,
            answer=Disconnected(),
            refusals=(StoreUnavailable, Overloaded),
        ),
        Route(
            "/websocket/clients/:id/rooms/:room",
            MembershipHandler,
            answer=Done(),
            refusals=(UnknownClient, TooManyRooms, StoreUnavailable, Overloaded),
        ),
    ]
