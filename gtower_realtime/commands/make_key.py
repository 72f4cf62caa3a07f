"""`make-key`: a new API key for a back-end."""

import json

import click

from gtower_realtime import identity


@click.command("make-key", short_help="Make an API key for a back-end.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["publish", "read", "admin"]),
    multiple=True,
    default=["publish"],
    show_default=True,
    help="What the key may; several times for several.",
)
@click.option(
    "--prefix",
    "prefixes",
    multiple=True,
    metavar="PREFIX",
    help="Rooms it may address begin with this.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of two lines.")
def make_key(name: str, scopes: tuple[str, ...], prefixes: tuple[str, ...], as_json: bool) -> None:
    """Make an API key for the back-end NAME; it is shown once and kept nowhere."""
    try:
        key, item = identity.make_api_key(name, scopes, prefixes)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
    if as_json:
        click.echo(json.dumps({"key": key, "setting": item}))
        return
    click.echo(f"For the back-end, as X-API-Key:  {key}")
    click.echo(f"For the server, in GTOWER_API_KEYS:  {item}")
