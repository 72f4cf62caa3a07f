"""The command line: one function per command."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from gtower_realtime import __version__, identity, reference, server, tokens
from gtower_realtime.settings import PREFIX, Settings, SettingsError, rows

Command = Callable[..., Any]

NAME = "GTower Realtime"


class _ServesByDefault(click.Group):
    """A group that takes a line without a command as one for ``serve``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_for_us = bool(args) and (args[0] in self.help_names(ctx) or not args[0].startswith("-"))
        return super().parse_args(ctx, args if is_for_us else ["serve", *args])

    def help_names(self, ctx: click.Context) -> list[str]:
        """Return the options that ask for this group's own help."""
        return self.get_help_option_names(ctx)


def _setting_options(command: Command) -> Command:
    """Add an option for each setting; not for secrets, which everybody would see in ``ps``."""
    for row in reversed(rows()):
        if not row.is_secret:
            flag = "--" + row.name.removeprefix(PREFIX).lower().replace("_", "-")
            help_text = f"{row.documentation} [{row.name}; default {row.default}]"
            command = click.option(flag, row.name, metavar="VALUE", help=help_text)(command)
    return command


def _load_settings(options: Mapping[str, str | None]) -> Settings:
    """Read the settings, options before the environment; leave with EX_CONFIG if they are wrong."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings.load({**os.environ, **given})
    except SettingsError as error:
        _leave(error)
    _warn(settings.warnings)
    return settings


def _leave(error: SettingsError) -> NoReturn:
    _warn(error.warnings)
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(os.EX_CONFIG)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


@click.group(cls=_ServesByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends.

    Without a command it serves. Settings are environment variables; `settings` lists them.
    """


@main.command()
@_setting_options
def serve(**options: str | None) -> NoReturn:
    """Serve until SIGTERM or SIGINT."""
    sys.exit(server.serve(_load_settings(options)))


@main.command("check-config")
@_setting_options
def check_config(**options: str | None) -> None:
    """Say whether the server would start with the settings; exit status 78 if not."""
    settings = _load_settings(options)
    try:
        server.check(settings)
    except SettingsError as error:
        _leave(error)
    click.echo("The settings are valid.")


@main.command("settings")
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def list_settings(*, as_json: bool) -> None:
    """List all settings with their defaults."""
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows()], indent=2, ensure_ascii=False))
        return
    name_width = max(len(row.name) for row in rows())
    default_width = max(len(row.default) for row in rows())
    for row in rows():
        notes = [
            row.unit,
            f"also {row.also}" if row.also else "",
            "secret" if row.is_secret else "",
        ]
        shown = f" ({', '.join(filter(None, notes))})" if any(notes) else ""
        documentation = f"{row.documentation}{shown}"
        click.echo(f"{row.name:{name_width}}  {row.default:{default_width}}  {documentation}")


@main.command("reference")
@click.option(
    "--into",
    "document",
    type=click.Path(exists=True, dir_okay=False, writable=True, path_type=Path),
    help="Renew the tables between the markers of this file instead.",
)
def show_reference(document: Path | None) -> None:
    """Print the tables of events, endpoints, errors and settings in Markdown."""
    if document is None:
        click.echo("\n".join(reference.sections().values()), nl=False)
        return
    text = document.read_text(encoding="utf-8")
    document.write_text(reference.replace_sections(text), encoding="utf-8")


@main.command("make-key")
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
@click.option("--prefix", "prefixes", multiple=True, help="Rooms it may address begin with this.")
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


@main.command("make-token")
@click.argument("user")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=15, show_default=True)
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
    settings = _load_settings({})
    if settings.jwt_secret is None:
        raise click.UsageError("GTOWER_JWT_SECRET is not set; the server checks tokens with it.")
    try:
        click.echo(tokens.sign(claims, settings.jwt_secret))
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


def _cap(text: str) -> dict[str, list[str]]:
    pattern, _, rights = text.rpartition("=")
    return {"rooms": [pattern], "allow": rights.split("+")}


@main.command()
def version() -> None:
    """Say which version this is."""
    click.echo(f"{NAME} {__version__}")
