"""Documents for tools and editors, made when they are first asked for, open to all origins."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from handlers.base import BaseHandler, HttpContext
from handlers.routes import Route

_CONTENT_TYPES = {
    ".json": "application/json; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
}


class DocumentHandler(BaseHandler):
    """One document; its ETag spares the transfer to who has it already."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take what makes the ``content`` besides what all handlers take."""
        super().initialize(context, route)
        self._content: Callable[[], str] = row["content"]

    def set_default_headers(self) -> None:
        """Let pages and tools of any origin read it, and ask each time whether it is new."""
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Referrer-Policy", "no-referrer")

    async def get(self) -> None:
        """Answer with the document."""
        # To make it takes a quarter of a second, which the loop does not have.
        content = await asyncio.to_thread(self._content)
        suffix = self.route[self.route.rindex(".") :]
        self.set_header("Content-Type", _CONTENT_TYPES[suffix])
        self.finish(content)


def document_route(path: str, make: Callable[[], str]) -> Route:
    """Return the route of the document that ``make`` returns; it is called once, when asked."""
    return Route(path, DocumentHandler, {"content": cache(make)})
