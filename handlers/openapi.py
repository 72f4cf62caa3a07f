"""``/openapi.json``: the HTTP API in OpenAPI 3.1, made of the routes and the schemas.

A route that is added to the API is in the document by itself. Example row, in its own module:

    Route("/websocket/rooms", RoomsHandler, parameters=(limit(1000, 100),), answer=RoomsPage()),
"""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from marshmallow import Schema

from gtower_realtime import strict_json
from gtower_realtime.answers import Refusal
from gtower_realtime.names import MAX_EVENT_NAME, MAX_ROOM_NAME
from gtower_realtime.schemas import EXAMPLE_CLIENT_ID, DocumentedSchema, name_limits
from handlers import refusals
from handlers.base import ApiHandler
from handlers.documents import document_route
from handlers.json_schemas import JsonSchemas
from handlers.routes import Route, first_paragraph

_PARAMETER = re.compile(r":([A-Za-z]+)")
_TEXT = {"type": "string"}
_ANY_BODY_EXAMPLE = {"orderId": 1042, "state": "shipped"}

_SECURITY: dict[str, dict[str, str]] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": ("The caller's id of the request, if it sent a sane one, else a new one.", {}),
    "Idempotency-Replayed": (
        "`true` when the request was answered before and has sent nothing now.",
        {"enum": ["true"]},
    ),
    "Retry-After": ("In how many seconds to ask again.", {"pattern": "^[0-9]+$"}),
    "X-RateLimit-Limit": ("How many requests the key may make at once.", {"pattern": "^[0-9]+$"}),
    "X-RateLimit-Remaining": ("How many of them are left.", {"pattern": "^[0-9]+$"}),
    "Allow": ("The methods that the path takes.", {}),
    "X-Partial": ("`true` when not all nodes have answered in time.", {"enum": ["true"]}),
    "X-Nodes-Missing": ("The names of the nodes that have not, between commas.", {}),
}

_HEADERS_OF_A_LIST = ("X-Partial", "X-Nodes-Missing")
"""What other answers say in `partial` and `nodesMissing`: a bare list has no place for it."""

_NAMES = {
    "clientId": ("The id of a client, which its `connected` event tells.", EXAMPLE_CLIENT_ID),
    "roomName": ("A room.", "sales"),
    "room": ("A room.", "sales"),
    "userId": ("A user, the `sub` of the clients' tokens.", "u7"),
    "eventName": ("The name of the event.", "orderUpdated"),
    "clients": ("The id of a client, which its `connected` event tells.", EXAMPLE_CLIENT_ID),
    "users": ("A user, the `sub` of the clients' tokens.", "u7"),
    "events": ("The id of an event, from its receipt.", "Zk0a1Jd8Qw3xVb7n"),
}
"""What names in paths stand for; ``:id`` is what stands before it in the path."""

_DESCRIPTION = """\
Sends events to the clients of Socket.IO, and tells about them.

A success is recorded and handed to every connection that it is for; after a 5xx nobody has seen
the event. A refusal says in `error.code` why, and in `error.retryable` whether the same request
may go through later. Paths also accept a trailing slash; another method than those listed here is
answered with 405 and `Allow`. The events themselves are in `/asyncapi.json`, and as TypeScript
types in `/events.d.ts`."""


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``: one operation for each method of each."""
    routes = list(routes)
    schemas = JsonSchemas(_DESCRIPTION)
    spec = schemas.specification
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)
    for name, (text, schema) in _HEADERS.items():
        spec.components.header(name, {"description": text, "schema": _TEXT | schema})
    for kind in refusals.kinds_of(routes):
        spec.components.example(kind.code, {"value": refusals.example(kind)})
    for tag in dict.fromkeys(_tag(route) for route in routes):
        told = first_paragraph(import_module(f"handlers.{tag}"))
        spec.tag({"name": tag, "description": told.removesuffix(" Example row:")})
    for route in routes:
        spec.path(
            path=_PARAMETER.sub(r"{\1}", route.path),
            parameters=[_path_parameter(route, name) for name in route.names],
            operations={method: _operation(schemas, route, method) for method in route.methods()},
        )
    described = spec.to_dict()
    described["components"]["schemas"] = schemas.named
    return described


def undocumented(routes: Iterable[Route]) -> list[str]:
    """Return a sentence for each operation that has no schema of its answer."""
    return [
        f"{method.upper()} {route.path} has no documented answer: give its Route an `answer`, "
        "a schema of gtower_realtime/answers.py."
        for route in routes
        for method in route.methods()
        if route.media_type_of(method) == "application/json" and route.answer_to(method) is None
    ]


def _tag(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def _path_parameter(route: Route, name: str) -> dict[str, Any]:
    before = route.path.partition(f"/:{name}")[0].rpartition("/")[2]
    text, example = _NAMES.get(before if name == "id" else name, ("", "1"))
    longest = MAX_EVENT_NAME if name == "eventName" else MAX_ROOM_NAME
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": text,
        "schema": _TEXT | name_limits(longest),
        "example": example,
    }


def _operation(schemas: JsonSchemas, route: Route, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route, method),
        "tags": [_tag(route)],
        "summary": route.summary or first_paragraph(route.handler),
        "description": first_paragraph(getattr(route.handler, method)),
        "responses": _responses(schemas, route, method),
    }
    if issubclass(route.handler, ApiHandler):
        scope = route.handler.scope_for(method.upper())
        operation["security"] = [{}, *({name: []} for name in _SECURITY)]
        operation["description"] += f"\n\nScope of the key, once there are keys: `{scope}`."
    if route.takes(method):
        operation["parameters"] = [
            {"name": one.name, "in": one.place, "description": one.doc, "schema": one.schema}
            for one in route.takes(method)
        ]
    if method == "post":
        schema: dict[str, Any] = {"type": "object"}
        example: Any = _ANY_BODY_EXAMPLE
        if route.body is not None:
            schema, example = schemas.reference(route.body), _example(route.body)
        operation["requestBody"] = {
            "required": _needs_body(route.body),
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    return operation


def _responses(schemas: JsonSchemas, route: Route, method: str) -> dict[str, Any]:
    answer = route.answer_to(method)
    headers = ["X-Request-Id"]
    if any(one.name == "Idempotency-Key" for one in route.takes(method)):
        headers.append("Idempotency-Replayed")
    if answer is not None and answer.many:
        headers.extend(_HEADERS_OF_A_LIST)
    responses = {
        str(route.success): {
            "description": "Done." if answer is None else first_paragraph(type(answer)),
            "headers": _header_references(headers),
            "content": {route.media_type_of(method): _content(schemas, route, method)},
        }
    }
    for status, kinds in refusals.refusals_of(route, method).items():
        responses[str(status)] = {
            "description": " ".join(f"`{kind.code}`: {first_paragraph(kind)}" for kind in kinds),
            "headers": _header_references(["X-Request-Id", *refusals.headers_of(status)]),
            "content": {
                "application/json": {
                    "schema": schemas.reference(Refusal()),
                    "examples": {
                        kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds
                    },
                }
            },
        }
    for status, other in route.other_answers.items():
        responses[str(status)] = {
            "description": first_paragraph(type(other)),
            "headers": _header_references(["X-Request-Id"]),
            "content": {"application/json": _described(schemas, other)},
        }
    return responses


def _content(schemas: JsonSchemas, route: Route, method: str) -> dict[str, Any]:
    answer = route.answer_to(method)
    if answer is None:
        return {"schema": {} if route.media_type_of(method) == "application/json" else _TEXT}
    return _described(schemas, answer)


def _described(schemas: JsonSchemas, answer: Schema) -> dict[str, Any]:
    reference = schemas.reference(answer)
    example = _example(answer)
    return {"schema": reference, "example": [example] if answer.many else example}


def _header_references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _example(schema: Schema) -> Any:
    return schema.example if isinstance(schema, DocumentedSchema) else {}


def _needs_body(body: Schema | None) -> bool:
    return body is not None and any(field.required for field in body.fields.values())


def _operation_id(route: Route, method: str) -> str:
    """Return a name that no other operation has: the method and the words of the path."""
    return "_".join([method, *re.findall(r"\w+", route.path)])


def routes(api: Sequence[Route]) -> list[Route]:
    """Return the route of the document about ``api``."""
    return [document_route("/openapi.json", lambda: strict_json.dumps(document(api)))]
