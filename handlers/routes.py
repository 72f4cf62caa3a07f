"""How a path template becomes a Tornado route: ``/websocket/clients/:id/status`` and the like."""

import re
from dataclasses import dataclass, field
from typing import Any

from tornado.routing import URLSpec

from handlers.base import BaseHandler, HttpContext

_PARAMETER = re.compile(r":([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Route:
    """A path, the handler for it, and what the handler takes besides the context.

    A ``:name`` stands for one segment of the path, percent-decoded once, and is handed to the
    handler's methods by that name.
    """

    path: str
    handler: type[BaseHandler]
    arguments: dict[str, Any] = field(default_factory=dict)

    def url_spec(self, context: HttpContext) -> URLSpec:
        """Return the Tornado route, which takes a trailing slash too."""
        pattern = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.path.rstrip("/"))
        arguments = {"context": context, "route": self.path, **self.arguments}
        return URLSpec(f"{pattern}/?", self.handler, arguments)
