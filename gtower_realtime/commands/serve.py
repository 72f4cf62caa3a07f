"""`serve`: the server itself."""

import sys
from typing import NoReturn

import click

from gtower_realtime import server
from gtower_realtime.commands.options import load_settings, setting_options


@click.command()
@setting_options
def serve(**options: str | None) -> NoReturn:
    """Serve until SIGTERM or SIGINT."""
    sys.exit(server.serve(load_settings(options)))
