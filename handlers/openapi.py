"""``/openapi.json``: the HTTP API in OpenAPI 3.1, made of the routes and the schemas.

A route that is added to the API is in the document by itself. Example row, in its own module:

    Route("/websocket/rooms", RoomsHandler, query=("prefix", "limit", "after")),
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from gtower_realtime import __version__, strict_json
from gtower_realtime.schemas import Metadata, Timestamp
from handlers.base import ApiHandler, BaseHandler, HttpContext
from handlers.routes import Route

_PARAMETER = re.compile(r":([A-Za-z]+)")
_OBJECT = {"type": "object"}
_TEXT = {"type": "string"}
_LIMIT = {"type": "integer", "minimum": 1}

_SECURITY: dict[str, dict[str, str]] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

_REFUSAL = {
    "type": "object",
    "required": ["success", "message", "error", "requestId"],
    "properties": {
        "success": {"const": False},
        "message": _TEXT,
        "error": {
            "type": "object",
            "required": ["code", "message", "retryable"],
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "retryable": {"type": "boolean"},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": _TEXT},
                },
            },
        },
        "requestId": _TEXT,
    },
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``: one operation for each method of each."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name_of)
    spec = APISpec(
        title="GTower Realtime",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": "Sends events to the clients of Socket.IO, and tells about them."},
    )
    plugin.map_to_openapi_type(Metadata, "object", None)
    plugin.map_to_openapi_type(Timestamp, "string", "date-time")
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)
    spec.components.schema("Refusal", _REFUSAL)
    for route in routes:
        operations = {method: _operation(route, method) for method in route.methods()}
        spec.path(
            path=_PARAMETER.sub(r"{\1}", route.path),
            parameters=[
                {"name": name, "in": "path", "required": True, "schema": _TEXT}
                for name in route.parameters
            ],
            operations=operations,
        )
    return spec.to_dict()


def _operation(route: Route, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route, method),
        "summary": route.description(method),
        "responses": {
            str(route.success): {
                "description": "Done.",
                "content": {route.media_type: {"schema": {}}},
            },
            "default": {
                "description": "Refused; `error.code` says why.",
                "content": {"application/json": {"schema": "Refusal"}},
            },
        },
    }
    if issubclass(route.handler, ApiHandler):
        operation["security"] = [{}, *({name: []} for name in _SECURITY)]
        operation["description"] = f"Scope of the key: `{route.handler.scope_for(method.upper())}`."
    if method == "get" and route.query:
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": _LIMIT if name == "limit" else _TEXT}
            for name in route.query
        ]
    if method == "post":
        operation["requestBody"] = {
            "required": _needs_body(route.body),
            "content": {"application/json": {"schema": route.body or _OBJECT}},
        }
    return operation


def _needs_body(body: Schema | None) -> bool:
    return body is not None and any(field.required for field in body.fields.values())


def _operation_id(route: Route, method: str) -> str:
    """Return a name that no other operation has: the method and the words of the path."""
    return "_".join([method, *re.findall(r"\w+", route.path)])


def _name_of(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__).removesuffix("Schema")


class OpenApiHandler(BaseHandler):
    """The document, made once at the start."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take the ``document`` besides what all handlers take."""
        super().initialize(context, route)
        self._document: bytes | str = row["document"]

    def get(self) -> None:
        """Answer with the document."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(self._document)


def routes(api: Sequence[Route]) -> list[Route]:
    """Return the route of the document about ``api``."""
    encoded = strict_json.dumps(document(api))
    return [Route("/openapi.json", OpenApiHandler, {"document": encoded})]
