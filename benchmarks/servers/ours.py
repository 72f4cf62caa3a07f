"""GTower Realtime as `make run` serves it, and one route more, which emits inside of the process.

``POST /bench/emit?rounds=n`` sends its body to each room ``room-…``, n times, by the method that
code in the same process uses.
"""

import asyncio
import json
import os
import sys
from typing import Any

from tornado.web import RequestHandler

from gtower_realtime import server
from gtower_realtime.application import Application
from gtower_realtime.ports import Target
from gtower_realtime.service import RealtimeService
from gtower_realtime.settings import Settings, SettingsError


class EmitHandler(RequestHandler):
    """Emits without HTTP in between."""

    def initialize(self, service: RealtimeService, rooms: Any) -> None:
        """Take the service, and what returns the names of all rooms."""
        self._service = service
        self._rooms = rooms

    async def post(self) -> None:
        """Emit, and answer when it is done."""
        body = json.loads(self.request.body)
        rooms = [room for room in self._rooms() if room.startswith("room-")]
        for _ in range(int(self.get_query_argument("rounds"))):
            # All begun before any is awaited, as whoever has many to send does: they are recorded
            # together.
            begun = [
                self._service.begin_send("orderUpdated", body, Target.room(room)) for room in rooms
            ]
            for receipt in begun:
                await receipt
            await asyncio.sleep(0)
        self.set_status(201)
        self.finish({"success": True})


class MeasuredApplication(Application):
    """The application with the route for emits."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        parts = {"service": self.service, "rooms": self.socketio.manager.index.rooms}
        self.tornado_application.add_handlers(".*", [("/bench/emit", EmitHandler, parts)])


def main() -> int:
    """Serve with the settings of the environment; return the exit status."""
    try:
        settings = Settings.load(os.environ)
    except SettingsError as refusal:
        sys.stderr.write("\n".join(refusal.problems) + "\n")
        return os.EX_CONFIG
    # What serves builds its application by this name; so all of it is measured as it is.
    server.Application = MeasuredApplication  # type: ignore[attr-defined, assignment]
    return server.serve(settings, os.environ)


if __name__ == "__main__":
    sys.exit(main())
