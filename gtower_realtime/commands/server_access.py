"""What the commands share that talk to a running server: where it is, the key, how to leave."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from gtower_realtime.client import (
    Forbidden,
    RateLimited,
    RealtimeClientError,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    Unauthorized,
    UnexpectedAnswer,
)
from gtower_realtime.settings import Settings, SettingsError, effective

Function = Callable[..., Any]

KEY = "GTOWER_API_KEY"
TOKEN = "GTOWER_TOKEN"  # noqa: S105 - the name of a variable

_WHERE = ("GTOWER_HOST", "GTOWER_PORT")
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104

_STATUSES: tuple[tuple[type[RealtimeClientError], int], ...] = (
    (UnexpectedAnswer, os.EX_PROTOCOL),
    (Unauthorized, os.EX_NOPERM),
    (Forbidden, os.EX_NOPERM),
    (RateLimited, os.EX_TEMPFAIL),
    (ServerUnavailable, os.EX_TEMPFAIL),
    (ServerFailed, os.EX_SOFTWARE),
)
"""The first class that an error is of tells the exit status; EX_DATAERR for all others."""


def url_option(function: Function) -> Function:
    """Add ``--url``."""
    return click.option(
        "--url",
        metavar="URL",
        help="The server, http://…, https://… or unix:/path. [default: where the settings say]",
    )(function)


def key_option(function: Function) -> Function:
    """Add ``--key-file``. The key itself is no option, which everybody would see in ``ps``."""
    return click.option(
        "--key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"A file that has the API key. [default: the variable {KEY}]",
    )(function)


def server_url(given: str | None) -> str:
    """Return where the server is: ``given``, else where one with these settings listens."""
    if given is not None:
        return given
    # Only this much of the settings is ours to judge.
    found = {setting.name: setting.value for setting in effective(os.environ)}
    environ = {name: found[name] for name in _WHERE}
    try:
        settings = Settings.load({**environ, "GTOWER_INSECURE": "true"})
    except SettingsError as error:
        fail("; ".join(error.problems), os.EX_CONFIG)
    if settings.unix_socket:
        return settings.host
    host = "localhost" if settings.host in _EVERYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def api_key(key_file: Path | None) -> str | None:
    """Return the key to use; None without one."""
    if key_file is not None:
        try:
            return key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            fail(f"cannot read the key from {key_file}: {problem}", os.EX_NOINPUT)
    return os.environ.get(KEY, "").strip() or None


def token_option(function: Function) -> Function:
    """Add ``--token-file``. The token itself is no option, which everybody would see in ``ps``."""
    return click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"A file that has the client's token. [default: the variable {TOKEN}]",
    )(function)


def token_from(file: Path | None) -> Callable[[], str | None]:
    """Return what reads the token anew each time."""

    def token() -> str | None:
        text = os.environ.get(TOKEN, "") if file is None else file.read_text(encoding="utf-8")
        return text.strip() or None

    return token


@contextmanager
def refusals_as_in_sysexits(url: str) -> Iterator[None]:
    """End with a sentence and the fitting status when the server at ``url`` refuses or is away."""
    try:
        yield
    except ServerUnreachable as problem:
        cause = problem.__cause__ or problem
        fail(f"no answer from {url}: {cause or type(cause).__name__}", os.EX_UNAVAILABLE)
    except RealtimeClientError as problem:
        fail(sentence_of(problem), status_of(problem))
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def status_of(problem: RealtimeClientError) -> int:
    """Return the exit status for an error."""
    statuses = (status for kind, status in _STATUSES if isinstance(problem, kind))
    return next(statuses, os.EX_DATAERR)


def sentence_of(problem: RealtimeClientError) -> str:
    """Return what to tell a person about an error: what it is, and where in what was sent."""
    return f"{problem} [HTTP {problem.status}]" if problem.status else str(problem)


def fail(sentence: str, status: int) -> NoReturn:
    """Say what is wrong, and end with ``status``."""
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(status)
