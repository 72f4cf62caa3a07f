"""`publish`: send an event from the shell."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click

from gtower_realtime import strict_json
from gtower_realtime.client import RealtimeClient, RetryPolicy
from gtower_realtime.client.calls import Call
from gtower_realtime.client.calls import publish as publishing
from gtower_realtime.commands.server_access import (
    api_key,
    fail,
    key_option,
    refusals_as_in_sysexits,
    server_url,
    url_option,
)
from gtower_realtime.commands.tables import print_pairs

_LABELS = {
    "id": "id",
    "recipients": "recipients",
    "pending": "pending",
    "offset": "offset",
    "unknownClients": "unknown clients",
    "acked": "acknowledged",
    "timedOut": "timed out",
    "disconnected": "disconnected",
}
"""The fields of a receipt that people are shown, if they are there, by what they are told."""


@click.command("publish", short_help="Send an event to rooms, users, clients or everyone.")
@click.argument("event")
@click.argument("data", default="{}", metavar="[DATA|-|@FILE]")
@click.option("--room", "rooms", multiple=True, metavar="ROOM", help="A room that gets it.")
@click.option("--user", "users", multiple=True, metavar="USER", help="A user who gets it.")
@click.option("--client", "clients", multiple=True, metavar="ID", help="A client that gets it.")
@click.option("--all", "everyone", is_flag=True, help="Everyone gets it.")
@click.option("--except", "excluding", multiple=True, metavar="ID", help="A client that does not.")
@click.option("--volatile", is_flag=True, help="Do not record it; who is away never gets it.")
@click.option("--ttl", type=click.FloatRange(min=0), metavar="SECONDS", help="How long it counts.")
@click.option(
    "--id", "event_id", metavar="ID", help="An id of yours: the same again sends nothing."
)
@click.option("--wait-ack", is_flag=True, help="Wait until listeners have acknowledged.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001, max=60),
    default=2,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait-ack waits.",
)
@url_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="The receipt as the server gives it.")
def publish(
    *,
    event: str,
    data: str,
    wait_ack: bool,
    timeout: float,
    url: str | None,
    key_file: Path | None,
    as_json: bool,
    event_id: str | None,
    **target: Any,
) -> None:
    """Send EVENT with DATA, a JSON object, and print the receipt.

    DATA may be - for standard input or @FILE for a file; without it the object is empty. Several
    targets may be given; each connection gets one copy. The API key comes from GTOWER_API_KEY or
    from --key-file.

    \b
    Exit status: 0 sent, 64 wrong command line, 65 the server does not take what
    was sent, 69 no answer, 75 try again later, 77 the key does not allow it.
    """
    if not any(target[kind] for kind in ("rooms", "users", "clients", "everyone")):
        raise click.UsageError("For whom? Give --room, --user, --client or --all.")
    body = _object(data)
    address = server_url(url)
    with refusals_as_in_sysexits(address):
        call = publishing(
            event, body, id=event_id, ack_seconds=timeout if wait_ack else None, **target
        )
        client = RealtimeClient(address, api_key=api_key(key_file), retries=RetryPolicy(tries=1))
        with client:
            text = client.perform(_unread(call))
    click.echo(text) if as_json else print_pairs(_shown(json.loads(text)))


def _unread(call: Call[Any]) -> Call[str]:
    """Return a call that gives the answer as it came."""
    return replace(cast("Call[str]", call), read=lambda answer: answer.text)


def _object(data: str) -> Mapping[str, Any]:
    try:
        said = strict_json.loads(_text(data))
    except ValueError as problem:
        fail(f"DATA is not JSON: {problem}", os.EX_DATAERR)
    if not isinstance(said, dict):
        fail('DATA must be a JSON object, like {"orderId": 1042}', os.EX_DATAERR)
    return said


def _text(data: str) -> str:
    if data == "-":
        return sys.stdin.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not UTF-8"
            fail(f"cannot read {data[1:]}: {reason}", os.EX_NOINPUT)
    return data


def _shown(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    # None are unknown most of the time; nobody has acknowledged is worth a line.
    said = {name: value for name, value in receipt.items() if value or name != "unknownClients"}
    shown = [(label, _words(said[name])) for name, label in _LABELS.items() if name in said]
    if said.get("partial"):
        shown.append(("partial", _silence(said.get("nodesMissing", []))))
    return shown


def _words(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _silence(nodes: Sequence[str]) -> str:
    """Return what a receipt is without, by the names of the nodes as far as they are known."""
    return f"no answer of {', '.join(nodes)}" if nodes else "not all nodes have answered"
