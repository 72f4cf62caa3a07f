"""``/events.d.ts``: the Socket.IO events as types for the stock client, made of the two tables.

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url);
"""

import re
from collections.abc import Iterable
from typing import Any

from gtower_realtime import __version__, strict_json
from gtower_realtime.events.acknowledgements import RefusedAcknowledgement
from gtower_realtime.events.client import CLIENT_EVENTS, ClientEvent
from gtower_realtime.events.server import SERVER_EVENTS, ServerEvent, server_event
from handlers.documents import document_route
from handlers.json_schemas import JsonSchemas
from handlers.routes import Route

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_SIMPLE_TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}

_HEAD = f"""\
/**
 * The events of GTower Realtime {__version__} for socket.io-client:
 *
 *     import {{ io, type Socket }} from "socket.io-client";
 *     import type {{ ClientToServerEvents, ServerToClientEvents }} from "./events";
 *
 *     const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:3000");
 *
 * An event that a back-end names itself is added by an interface of your own:
 *
 *     interface Events extends ServerToClientEvents {{
 *       orderUpdated: CustomEvent<{{ orderId: number }}>;
 *     }}
 *
 * The last argument of a recorded event is its offset, by which the client recovers what it misses;
 * when the server asks for an acknowledgement, a callback stands in its place.
 */
"""

_CUSTOM_EVENT = """\
/** A listener for an event that a back-end has named. */
export type CustomEvent<Body = unknown> = (
  payload: Body & { timestamp: string },
  offset?: string,
) => void;
"""


def declarations() -> str:
    """Return the module of declarations."""
    schemas = JsonSchemas()
    client_events = [_client_event(schemas, row) for row in CLIENT_EVENTS.values()]
    schemas.reference(server_event("").payload)
    server_events = [_server_event(schemas, row) for row in SERVER_EVENTS.values()]
    interfaces = [_interface(name, schema) for name, schema in schemas.named.items()]
    return "\n".join(
        [
            _HEAD,
            *interfaces,
            _CUSTOM_EVENT,
            _events("ServerToClientEvents", "What the server says.", server_events),
            _events(
                "ClientToServerEvents",
                "What a client may say. The acknowledgement tells whether it was done; "
                "`emitWithAck` returns it.",
                client_events,
            ),
        ]
    )


def _events(name: str, doc: str, members: Iterable[str]) -> str:
    return f"{_comment(doc)}export interface {name} {{\n{''.join(members)}}}\n"


def _server_event(schemas: JsonSchemas, row: ServerEvent) -> str:
    payload = type_of(schemas.reference(row.payload))
    offset = ", offset?: string" if row.carries_offset else ""
    recorded = " It is recorded." if row.stored else ""
    return (
        _comment(f"{_sentence(row.doc)}{recorded}", "  ")
        + f"  {_property(row.name)}: (payload: {payload}{offset}) => void;\n"
    )


def _client_event(schemas: JsonSchemas, row: ClientEvent) -> str:
    done = type_of(schemas.reference(row.acknowledgement))
    refused = type_of(schemas.reference(RefusedAcknowledgement()))
    argument = "" if row.schema is None else f"argument: {type_of(schemas.argument(row.schema))}, "
    return (
        _comment(_sentence(row.doc), "  ")
        + f"  {_property(row.name)}: (\n"
        + (f"    {argument.strip()}\n" if argument else "")
        + f"    acknowledge: (answer: {done} | {refused}) => void,\n  ) => void;\n"
    )


def _interface(name: str, schema: dict[str, Any]) -> str:
    return f"{_comment(schema['description'])}export interface {name} {_object(schema)}\n"


def type_of(schema: dict[str, Any]) -> str:
    """Return the TypeScript type of what a JSON schema allows."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(strict_json.dumps, schema["enum"]))
    kind = schema.get("type")
    choices = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    if isinstance(kind, list):
        choices += [{**schema, "type": one} for one in kind]
    if choices:
        return " | ".join(dict.fromkeys(map(type_of, choices)))
    if kind == "array":
        items = type_of(schema.get("items", {}))
        return f"({items})[]" if " " in items else f"{items}[]"
    if kind == "object":
        return _object(schema) if "properties" in schema else _record(schema)
    return _SIMPLE_TYPES.get(kind or "", "unknown")


def _record(schema: dict[str, Any]) -> str:
    values = schema.get("additionalProperties", {})
    return f"Record<string, {type_of(values) if isinstance(values, dict) else 'unknown'}>"


def _object(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    lines = [
        f"  {_property(name)}{'' if name in required else '?'}: {type_of(one)};\n"
        for name, one in schema.get("properties", {}).items()
    ]
    if schema.get("additionalProperties") is True:
        lines.append("  [field: string]: unknown;\n")
    return f"{{\n{''.join(lines)}}}"


def _property(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else strict_json.dumps(name)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _comment(text: str, indent: str = "") -> str:
    return f"{indent}/** {text.replace('*/', '* /')} */\n"


def routes() -> list[Route]:
    """Return the route of the declarations."""
    return [document_route("/events.d.ts", declarations)]
