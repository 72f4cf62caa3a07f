"""The HTTP API's endpoints, all of them: what is served and what the documents describe."""

from handlers import control, operations, publish, reads, rooms, triggers, whatsapp
from handlers.routes import Route

OTHERS = (publish, reads, rooms, control, operations)
"""The modules whose endpoints are no triggers of one event."""


def routes(webhook: whatsapp.Webhook | None = None) -> list[Route]:
    """Return the routes of the API, those that most requests take first.

    Without a ``webhook`` those of WhatsApp say that there is none.
    """
    return [
        *triggers.routes(),
        *(route for module in OTHERS for route in module.routes()),
        *whatsapp.routes(webhook),
    ]
