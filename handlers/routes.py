"""A path template, its Tornado route, and what documents tell of it.

Example row:

    Route("/websocket/publish", PublishHandler, body=PublishSchema(), success=201),
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema
from tornado.routing import URLSpec

from handlers.base import BaseHandler, HttpContext

_PARAMETER = re.compile(r":([A-Za-z]+)")
_METHODS = ("get", "post", "put", "delete")


def first_paragraph(documented: Any) -> str:
    """Return the first paragraph of a docstring on one line, in Markdown."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


@dataclass(frozen=True, slots=True)
class Route:
    """A path, the handler for it, and what the handler takes besides the context.

    A ``:name`` stands for one segment of the path, percent-decoded once, and is handed to the
    handler's methods by that name. The rest is for documents: ``body`` is what a POST must have,
    None for any JSON object; ``query`` the names that a GET takes after the question mark;
    ``success`` the status of an answer that is no refusal; ``media_type`` what that answer is.
    """

    path: str
    handler: type[BaseHandler]
    arguments: dict[str, Any] = field(default_factory=dict)
    body: Schema | None = None
    query: tuple[str, ...] = ()
    success: int = 200
    media_type: str = "application/json"

    @property
    def parameters(self) -> list[str]:
        """The names in the path, in their order."""
        return _PARAMETER.findall(self.path)

    def methods(self) -> Iterator[str]:
        """Yield the methods that the handler has, in lower case."""
        return (
            method
            for method in _METHODS
            if getattr(self.handler, method) is not getattr(BaseHandler, method)
        )

    def description(self, method: str) -> str:
        """Return what the handler and its method say of themselves."""
        return f"{first_paragraph(self.handler)} {first_paragraph(getattr(self.handler, method))}"

    def url_spec(self, context: HttpContext) -> URLSpec:
        """Return the Tornado route, which takes a trailing slash too."""
        pattern = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.path.rstrip("/"))
        arguments = {"context": context, "route": self.path, **self.arguments}
        return URLSpec(f"{pattern}/?", self.handler, arguments)
