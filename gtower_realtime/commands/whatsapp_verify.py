"""`whatsapp verify`: whether the webhook's settings, a signature, or a whole webhook is right."""

import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from gtower_realtime.commands.server_access import fail
from gtower_realtime.commands.webhook_calls import call, webhook_settings
from gtower_realtime.settings import Settings
from gtower_realtime.whatsapp.signature import HEADER, is_signed


@click.command()
@click.option("--url", help="A webhook's whole address, to do Meta's handshake with.")
@click.option(
    "--body",
    "body_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the raw body of a webhook.",
)
@click.option("--signature", help=f"What came in {HEADER} with it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of lines.")
def verify(
    *, url: str | None, body_file: Path | None, signature: str | None, as_json: bool
) -> None:
    """Say whether the webhook is set up, a body is signed with its secret, a URL answers Meta.

    \b
    Exit status: 0 all is right, 65 the signature is wrong, 69 no answer, 76 the URL answers
    something else than Meta wants, 78 the settings are wrong or have no webhook.
    """
    if (body_file is None) != (signature is None):
        raise click.UsageError("--body and --signature belong together.")
    settings = webhook_settings()
    found: dict[str, Any] = {
        "appSecrets": len(settings.whatsapp_app_secret),
        "resolverUrl": settings.whatsapp_resolver_url,
    }
    if body_file is not None:
        found["signedWith"] = _signed_with(settings, body_file.read_bytes(), signature)
    if url is not None:
        _shake_hands(url, settings)
        found["handshake"] = "answered"
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"The webhook is set up with {_count(found['appSecrets'], 'app secret')}.")
    if "signedWith" in found:
        click.echo(f"The body is signed with app secret number {found['signedWith']}.")
    if "handshake" in found:
        click.echo(f"{url} answers Meta's handshake.")


def _signed_with(settings: Settings, body: bytes, signature: str | None) -> int:
    """Return the number of the secret, from 1, that a body is signed with."""
    matches = [is_signed(body, signature, [secret]) for secret in settings.whatsapp_app_secret]
    if not any(matches):
        fail(
            "the signature is not that of these bytes with any app secret; "
            "it counts every byte, so save the body as it came",
            os.EX_DATAERR,
        )
    return matches.index(True) + 1


def _shake_hands(url: str, settings: Settings) -> None:
    challenge = str(secrets.randbelow(10**10))
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": settings.whatsapp_verify_token,
    }
    answer = call(f"{url}?{urlencode(query)}")
    if (answer.status, answer.body) != (200, challenge.encode()):
        fail(
            f"{url} answers {answer.status} and not the challenge; "
            "403 means another verify token, 404 no webhook",
            os.EX_PROTOCOL,
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
