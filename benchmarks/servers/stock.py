"""Stock python-socketio on Tornado with python-engineio's driver, doing the work that is measured.

Nothing of GTower Realtime is in it. Prints the address it listens on.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import socketio
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

_BACKLOG = 1024

sio = socketio.AsyncServer(async_mode="tornado", always_connect=True, cors_allowed_origins="*")
announces = os.environ.get("ANNOUNCE") == "1"
clients: set[str] = set()


def now() -> str:
    """Return the time as events carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


async def connect(sid: str, _environ: dict[str, Any]) -> None:
    """Welcome a client."""
    clients.add(sid)
    welcome = {
        "message": "Successfully connected to WebSocket server",
        "clientId": sid,
        "timestamp": now(),
    }
    await sio.emit("connected", welcome, to=sid)
    if announces:
        await sio.emit("clientJoined", {"clientId": sid, "timestamp": now()}, skip_sid=sid)


async def disconnect(sid: str, _reason: str) -> None:
    """Forget a client."""
    clients.discard(sid)
    if announces:
        await sio.emit("clientLeft", {"clientId": sid, "timestamp": now()})


async def join_room(sid: str, room: str) -> None:
    """Make a client a member of a room."""
    await sio.enter_room(sid, room)
    await sio.emit("roomJoined", {"room": room, "timestamp": now()}, to=sid)


async def relay_message(sid: str, message: Any) -> None:
    """Send a message to all others and tell its sender."""
    relayed = {"from": sid, "message": message, "timestamp": now()}
    await sio.emit("messageBroadcast", relayed, skip_sid=sid)
    await sio.emit("messageReceived", {"originalMessage": message, "receivedAt": now()}, to=sid)


class TriggerHandler(RequestHandler):
    """``POST`` to a room, a client (``room`` is its id), or with ``room`` None to all."""

    async def post(self, event: str, room: str | None = None) -> None:
        """Send the body."""
        await _send(event, json.loads(self.request.body), room)
        self.set_status(201)
        self.finish({"success": True, "message": "sent"})


class EmitHandler(RequestHandler):
    """``POST /bench/emit?rounds=n``: an event to each room, n times."""

    async def post(self) -> None:
        """Emit, and answer when it is done."""
        body = json.loads(self.request.body)
        rooms = [
            room
            for room in sio.manager.rooms.get("/", {})
            if room is not None and room.startswith("room-")
        ]
        for _ in range(int(self.get_query_argument("rounds"))):
            for room in rooms:
                await _send("orderUpdated", body, room)
            await asyncio.sleep(0)
        self.set_status(201)
        self.finish({"success": True})


class StatusHandler(RequestHandler):
    """``GET /websocket/status``."""

    def get(self) -> None:
        """Tell how many are connected."""
        self.finish({"connectedClients": len(clients)})


async def _send(event: str, body: dict[str, Any], room: str | None) -> None:
    await sio.emit(event, {**body, "timestamp": now()}, room=room)


async def main() -> None:
    """Serve until the process is ended."""
    sio.on("connect", connect)
    sio.on("disconnect", disconnect)
    sio.on("joinRoom", join_room)
    sio.on("message", relay_message)
    to_someone = "/websocket/event/(?:client|room)/(?P<room>[^/]+)/(?P<event>[^/]+)"
    application = Application(
        [
            (to_someone, TriggerHandler),
            ("/websocket/event/broadcast/(?P<event>[^/]+)", TriggerHandler),
            ("/bench/emit", EmitHandler),
            ("/websocket/status", StatusHandler),
            ("/socket.io/", socketio.get_tornado_handler(sio)),
        ],
        log_function=lambda _handler: None,
    )
    sockets = bind_sockets(0, "127.0.0.1", backlog=_BACKLOG)
    HTTPServer(application).add_sockets(sockets)
    sys.stdout.write(f"http://127.0.0.1:{sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
