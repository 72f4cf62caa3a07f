"""A path template, its Tornado route, and what documents tell of it.

Example row:

    Route("/websocket/publish", PublishHandler, body=PublishSchema(), success=201,
          answer=PublishReceipt()),
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import Schema
from tornado.routing import URLSpec

from gtower_realtime.errors import RealtimeError
from handlers.base import BaseHandler, HttpContext

_PARAMETER = re.compile(r":([A-Za-z]+)")
_METHODS = ("get", "post", "put", "delete")


def first_paragraph(documented: Any) -> str:
    """Return the first paragraph of a docstring on one line, in Markdown."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a request may say in its query or its headers; ``schema`` is a JSON schema."""

    name: str
    doc: str
    schema: dict[str, Any]
    place: Literal["query", "header"] = "query"


def limit(largest: int, usual: int) -> Parameter:
    """Return the parameter `limit` of a read in pages."""
    schema = {"type": "integer", "minimum": 1, "maximum": largest, "default": usual}
    return Parameter("limit", "How many at most.", schema)


@dataclass(frozen=True, slots=True)
class Route:
    """A path, the handler for it, and what the handler takes besides the context.

    A ``:name`` stands for one segment of the path, percent-decoded once, and is handed to the
    handler's methods by that name. The rest is for documents: ``body`` is what a POST must have,
    None for any JSON object; ``parameters`` what a GET, or else a POST, takes besides;
    ``success`` the status of an answer that is no refusal, ``media_type`` what that answer is and
    ``answer`` its schema, either one or one for each method; ``other_answers`` those with another
    status that are no refusals either; ``refusals`` what it may be refused with besides what
    follows from the handler's kind; ``summary`` a title, when the handler's own documentation is
    about several routes.
    """

    path: str
    handler: type[BaseHandler]
    arguments: dict[str, Any] = field(default_factory=dict)
    body: Schema | None = None
    parameters: tuple[Parameter, ...] = ()
    success: int = 200
    media_type: str | Mapping[str, str] = "application/json"
    answer: Schema | Mapping[str, Schema] | None = None
    other_answers: Mapping[int, Schema] = field(default_factory=dict)
    refusals: tuple[type[RealtimeError], ...] = ()
    summary: str = ""

    @property
    def names(self) -> list[str]:
        """The names in the path, in their order."""
        return _PARAMETER.findall(self.path)

    def methods(self) -> Iterator[str]:
        """Yield the methods that the handler has, in lower case."""
        return (
            method
            for method in _METHODS
            if getattr(self.handler, method) is not getattr(BaseHandler, method)
        )

    def takes(self, method: str) -> tuple[Parameter, ...]:
        """Return the parameters of ``method``: those of a GET are not for what else is here."""
        is_for = "get" if "get" in self.methods() else "post"
        return self.parameters if method == is_for else ()

    def answer_to(self, method: str) -> Schema | None:
        """Return the schema of the answer to ``method``, None if it is not declared."""
        return self.answer.get(method) if isinstance(self.answer, Mapping) else self.answer

    def media_type_of(self, method: str) -> str:
        """Return what the answer to ``method`` is."""
        one = self.media_type
        return one if isinstance(one, str) else one.get(method, "application/json")

    def description(self, method: str) -> str:
        """Return what the handler and its method say of themselves."""
        return f"{first_paragraph(self.handler)} {first_paragraph(getattr(self.handler, method))}"

    def url_spec(self, context: HttpContext) -> URLSpec:
        """Return the Tornado route, which takes a trailing slash too."""
        pattern = _PARAMETER.sub(r"(?P<\1>[^/]+)", self.path.rstrip("/"))
        arguments = {"context": context, "route": self.path, **self.arguments}
        return URLSpec(f"{pattern}/?", self.handler, arguments)
