"""`whatsapp simulate`: a signed webhook like Meta's, to try things out."""

import json
import os
import secrets
import time

import click

from gtower_realtime.commands.server_access import fail
from gtower_realtime.commands.webhook_calls import address_of, call, webhook_settings
from gtower_realtime.whatsapp.signature import HEADER, sign
from gtower_realtime.whatsapp.simulation import (
    MESSAGE_TYPES,
    STATUSES,
    body_of_message,
    body_of_status,
)


@click.command()
@click.argument("kind", type=click.Choice([*MESSAGE_TYPES, *STATUSES]), metavar="KIND")
@click.option("--url", help="Where to post it. [default: the webhook where the settings say]")
@click.option("--number", default="16505551234", show_default=True, help="The customer's number.")
@click.option("--name", default="Sheena Nelson", show_default=True, help="The customer's name.")
@click.option("--text", default="Hello!", show_default=True, help="What the customer says.")
@click.option("--id", "message_id", help="The message's id. [default: a new one]")
@click.option("--customer", "customer_id", help="Whose message a status is of.")
@click.option("--print", "only_prints", is_flag=True, help="Print it instead of posting it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of lines.")
def simulate(
    *,
    kind: str,
    url: str | None,
    number: str,
    name: str,
    text: str,
    message_id: str | None,
    customer_id: str | None,
    only_prints: bool,
    as_json: bool,
) -> None:
    """Post a webhook of KIND, signed with the first of GTOWER_WHATSAPP_APP_SECRET.

    \b
    KIND is a type of message (text button interactive image video document audio sticker
    location contacts reaction order system unsupported) or a status (sent delivered read
    played failed).
    Exit status: 0 it was taken, 69 no answer, 76 it was refused, 78 wrong settings.
    """
    settings = webhook_settings()
    message_id = message_id or f"wamid.simulated.{secrets.token_urlsafe(12)}"
    now = int(time.time())
    if kind in MESSAGE_TYPES:
        body = body_of_message(
            kind, message_id=message_id, number=number, name=name, text=text, at=now
        )
    else:
        body = body_of_status(
            kind, message_id=message_id, number=number, customer_id=customer_id, at=now
        )
    signature = sign(body, settings.whatsapp_app_secret[0])
    if only_prints:
        shown = {"body": body.decode(), "signature": signature}
        click.echo(json.dumps(shown) if as_json else f"{HEADER}: {signature}\n\n{body.decode()}")
        return
    url = url or address_of("/whatsapp/webhook")
    answer = call(url, body, {"Content-Type": "application/json", HEADER: signature})
    if answer.status != 200:
        fail(
            f"{url} answers {answer.status}: {answer.body.decode(errors='replace')}", os.EX_PROTOCOL
        )
    click.echo(json.dumps({"id": message_id}) if as_json else f"Taken: {kind} {message_id}")
