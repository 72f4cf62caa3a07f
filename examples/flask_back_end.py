"""A Flask back-end whose pages see at once that an order is paid.

REALTIME_API_KEY=… flask --app examples.flask_back_end run
"""

import logging
import os

from flask import Flask
from flask.typing import ResponseReturnValue

from gtower_realtime.client import RealtimeClient, RealtimeClientError

logger = logging.getLogger(__name__)


def create_app(realtime: RealtimeClient | None = None) -> Flask:
    """Return the application; ``flask run`` calls it without an argument."""
    app = Flask(__name__)
    # One client for all requests and threads. It connects when it is first used, so that a server
    # that forks its workers, like gunicorn, gives each of them connections of its own.
    client = realtime or RealtimeClient(
        os.environ.get("REALTIME_URL", "http://localhost:3000"),
        api_key=os.environ.get("REALTIME_API_KEY"),
        timeout=2.0,
    )

    @app.post("/orders/<int:order_id>/paid")
    def mark_paid(order_id: int) -> ResponseReturnValue:
        # … the payment is saved here. It stays saved if the pages cannot be told.
        try:
            client.send_event_to_room(
                "sales", "orderUpdated", {"orderId": order_id, "state": "paid"}
            )
        except RealtimeClientError as problem:
            logger.warning("pages were not told of order %d: %s", order_id, problem)
        return {"orderId": order_id, "state": "paid"}

    return app
