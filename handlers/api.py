"""The HTTP API's endpoints, all of them: what is served and what the documents describe."""

from handlers import control, operations, publish, reads, rooms, triggers
from handlers.routes import Route

OTHERS = (publish, reads, rooms, control, operations)
"""The modules whose endpoints are no triggers of one event."""


def routes() -> list[Route]:
    """Return the routes of the API, those that most requests take first."""
    return [*triggers.routes(), *(route for module in OTHERS for route in module.routes())]
