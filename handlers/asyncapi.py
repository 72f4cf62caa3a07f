"""``/asyncapi.json``: the Socket.IO events in AsyncAPI 3.0, made of the two tables of events.

A row that is added to one of the tables is in the document by itself.
"""

import re
from typing import Any

from gtower_realtime import __version__, strict_json
from gtower_realtime.answers import Offset
from gtower_realtime.events.acknowledgements import RefusedAcknowledgement
from gtower_realtime.events.client import CLIENT_EVENTS, ClientEvent
from gtower_realtime.events.server import SERVER_EVENTS, ServerEvent, server_event
from gtower_realtime.schemas import ArgumentSchema
from handlers.documents import document_route
from handlers.json_schemas import JsonSchemas
from handlers.routes import Route

_DESCRIPTION = """\
What the stock Socket.IO client and the server say to each other in a namespace.

A payload here is the first argument of an event. An event that is recorded, and `connected`, has
the offset of its place in the log as an extra last argument (`x-offset`), unless the server asks
for an acknowledgement of it. Every client event is answered by exactly one acknowledgement when the
client asks for one; else a refusal is told by the event `exception`. Besides these events there are
those that back-ends name themselves, here `customEvent`."""


def document() -> dict[str, Any]:
    """Return the AsyncAPI document. Its operations are the server's: it receives, and sends."""
    schemas = JsonSchemas()
    said = [_client_message(schemas, row) for row in CLIENT_EVENTS.values()]
    answers = [_acknowledgement(schemas, row) for row in CLIENT_EVENTS.values()]
    told = [_server_message(schemas, row, row.name) for row in SERVER_EVENTS.values()]
    told.append(_server_message(schemas, server_event(""), "customEvent"))
    operations = {_key("receive", one["name"]): _receives(one["name"]) for one in said}
    operations |= {_key("send", one["name"]): _sends(one["name"]) for one in told}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "GTower Realtime events",
            "version": __version__,
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": {
            "clientEvents": _channel("What clients say.", said),
            "serverEvents": _channel("What the server says.", told),
            "acknowledgements": _channel("What the server answers to client events.", answers),
        },
        "operations": operations,
        "components": {"schemas": schemas.named},
    }


def _channel(summary: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "address": "/",
        "summary": summary,
        "messages": {_key(one["name"]): one for one in messages},
    }


def _client_message(schemas: JsonSchemas, row: ClientEvent) -> dict[str, Any]:
    message: dict[str, Any] = {"name": row.name, "summary": row.doc}
    if row.schema is None:
        return {**message, "payload": {"type": "null"}, "examples": [{"payload": None}]}
    examples: list[Any] = []
    if isinstance(row.schema, ArgumentSchema):
        examples.append(row.schema.example)
        if row.schema.shorthand is not None:
            examples.insert(0, row.schema.example[row.schema.shorthand])
    return {
        **message,
        "payload": schemas.argument(row.schema),
        "examples": [{"payload": one} for one in examples],
    }


def _acknowledgement(schemas: JsonSchemas, row: ClientEvent) -> dict[str, Any]:
    refused = RefusedAcknowledgement()
    return {
        "name": row.name,
        "summary": f"The answer to `{row.name}`.",
        "payload": {"oneOf": [schemas.reference(row.acknowledgement), schemas.reference(refused)]},
        "examples": [
            {"payload": row.acknowledgement.example},
            {"payload": refused.example},
        ],
    }


def _server_message(schemas: JsonSchemas, row: ServerEvent, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": name,
        "summary": row.doc,
        "payload": schemas.reference(row.payload),
        "examples": [{"payload": row.payload.example}],
    }
    if row.carries_offset:
        message["x-offset"] = {"type": "string", **Offset().metadata}
    return message


def _receives(name: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/clientEvents"},
        "messages": [{"$ref": f"#/channels/clientEvents/messages/{_key(name)}"}],
        "reply": {
            "channel": {"$ref": "#/channels/acknowledgements"},
            "messages": [{"$ref": f"#/channels/acknowledgements/messages/{_key(name)}"}],
        },
    }


def _sends(name: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/serverEvents"},
        "messages": [{"$ref": f"#/channels/serverEvents/messages/{_key(name)}"}],
    }


def _key(*names: str) -> str:
    """Return a name of letters, digits and underscores, as keys of the document have to be."""
    return re.sub(r"\W", "_", "_".join(names))


def routes() -> list[Route]:
    """Return the route of the document."""
    return [document_route("/asyncapi.json", lambda: strict_json.dumps(document()))]
