"""`make-token`: a token for a client, to try things out."""

import time
from typing import Any

import click

from gtower_realtime import tokens
from gtower_realtime.commands.options import load_settings


@click.command("make-token", short_help="Print a token for a client, to try things out.")
@click.argument("user")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1),
    default=15,
    show_default=True,
    metavar="N",
    help="How long it counts.",
)
@click.option("--room", "rooms", multiple=True, help="A room to join at connect.")
@click.option(
    "--cap",
    "caps",
    multiple=True,
    metavar="PATTERN=RIGHT+RIGHT",
    help="Rights in rooms, like 'whatsapp:customer:*=join+history'.",
)
@click.option("--audience", help="The claim aud.")
@click.option("--issuer", help="The claim iss.")
def make_token(
    user: str,
    minutes: float,
    rooms: tuple[str, ...],
    caps: tuple[str, ...],
    audience: str | None,
    issuer: str | None,
) -> None:
    """Print a token for USER, signed with GTOWER_JWT_SECRET, to try things out."""
    claims: dict[str, Any] = {"sub": user, "exp": int(time.time() + minutes * 60)}
    optional = {
        "rooms": list(rooms),
        "caps": [_cap(text) for text in caps],
        "aud": audience,
        "iss": issuer,
    }
    claims |= {name: value for name, value in optional.items() if value}
    settings = load_settings({})
    if settings.jwt_secret is None:
        raise click.UsageError("GTOWER_JWT_SECRET is not set; the server checks tokens with it.")
    try:
        click.echo(tokens.sign(claims, settings.jwt_secret))
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


def _cap(text: str) -> dict[str, list[str]]:
    pattern, _, rights = text.rpartition("=")
    return {"rooms": [pattern], "allow": rights.split("+")}
