"""`serve`: the server itself."""

import sys
from typing import NoReturn

import click

from gtower_realtime import server
from gtower_realtime.commands.options import environment, load_settings, setting_options


@click.command()
@setting_options
def serve(**options: str | None) -> NoReturn:
    """Serve until SIGTERM or SIGINT; SIGHUP reads settings anew."""
    sys.exit(server.serve(load_settings(options), environment(options)))
