"""`doctor`: whether a server works, looked at from outside."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from gtower_realtime import tokens
from gtower_realtime.cluster.examination import examine
from gtower_realtime.commands.examination import Examination, Finding
from gtower_realtime.commands.server_access import (
    api_key,
    key_option,
    server_url,
    token_from,
    token_option,
    url_option,
)
from gtower_realtime.commands.tables import print_table
from gtower_realtime.limits import open_files_for
from gtower_realtime.settings import Settings, SettingsError

_USER = "gtower-doctor"
_TOKEN_SECONDS = 300
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


@click.command("doctor", short_help="Find out whether a server works, and what to do if not.")
@url_option
@key_option
@token_option
@click.option(
    "--namespace", default="/", show_default=True, metavar="NAME", help="Where clients connect."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How long each check may take.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def doctor(
    *,
    url: str | None,
    key_file: Path | None,
    token_file: Path | None,
    namespace: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Look at a running server from outside: does it answer, connect, publish, deliver?

    Connects with WebSocket and with polling, and publishes an event to itself on both. Run it with
    the server's settings, or say where it is with --url. Clients need a token where tokens are on:
    it makes its own if GTOWER_JWT_SECRET is set. If GTOWER_REDIS_URL is set it tries that Redis.

    \b
    Exit status: 0 if nothing failed, else 69.
    """
    settings, findings = _of_the_settings()
    examination = Examination(
        url=server_url(url),
        namespace=namespace,
        api_key=api_key(key_file),
        token=_token(settings, token_file),
        seconds=timeout,
        open_files=open_files_for(settings.max_connections) if settings else 0,
    )
    try:
        findings = [*asyncio.run(_found(examination, settings)), *findings]
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    has_failed = any(finding.state == "fail" for finding in findings)
    if as_json:
        checks = [finding._asdict() for finding in findings]
        result = {"url": examination.url, "ok": not has_failed, "checks": checks}
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print_table(("CHECK", "STATE", "FINDING"), [_line(finding) for finding in findings])
    sys.exit(os.EX_UNAVAILABLE if has_failed else os.EX_OK)


async def _found(examination: Examination, settings: Settings | None) -> list[Finding]:
    found = [finding async for finding in examination.findings()]
    if settings is None:
        return found
    if settings.redis_url is None:
        return [*found, Finding("Redis", "ok", "GTOWER_REDIS_URL is not set here")]
    return found + [Finding(*observation) for observation in await examine(settings.redis_url)]


def _of_the_settings() -> tuple[Settings | None, list[Finding]]:
    """Return the settings that a server here would have, and what can be said of them."""
    try:
        settings = Settings.load(os.environ)
    except SettingsError as error:
        said = f"a server would not start with these: {error.problems[0]}"
        return None, [Finding("settings", "warn", said, "`check-config` says all.")]
    return settings, []


def _token(settings: Settings | None, file: Path | None) -> Callable[[], str | None]:
    given = token_from(file)
    if settings is None or settings.jwt_secret is None:
        return given
    secret = settings.jwt_secret
    claims = {"sub": _USER, "aud": settings.jwt_audience, "iss": settings.jwt_issuer}

    def token() -> str | None:
        own = {name: value for name, value in claims.items() if value is not None}
        return given() or tokens.sign(own | {"exp": int(time.time()) + _TOKEN_SECONDS}, secret)

    return token


def _line(finding: Finding) -> tuple[str, str, str]:
    state = click.style(finding.state, fg=_COLOURS[finding.state])
    said = f"{finding.finding} → {finding.advice}" if finding.advice else finding.finding
    return finding.check, state, said
