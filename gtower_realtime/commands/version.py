"""`version`: which one this is, and what it stands on."""

import json
import platform
import sqlite3
from importlib import metadata

import click

from gtower_realtime import __version__

NAME = "GTower Realtime"

_LIBRARIES = ("tornado", "python-socketio")


@click.command(short_help="Say which version this is.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, with what it stands on.")
def version(*, as_json: bool) -> None:
    """Say which version this is; with --json also of Python and the main libraries."""
    if as_json:
        click.echo(json.dumps({"gtower-realtime": __version__, **_foundations()}))
    else:
        click.echo(f"{NAME} {__version__}")


def _foundations() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "sqlite": sqlite3.sqlite_version,
    }
