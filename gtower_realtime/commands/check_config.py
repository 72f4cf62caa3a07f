"""`check-config`: whether the server would start."""

import click

from gtower_realtime import server
from gtower_realtime.commands.options import leave, load_settings, setting_options
from gtower_realtime.settings import SettingsError


@click.command("check-config", short_help="Say whether the server would start, and how.")
@setting_options
def check_config(**options: str | None) -> None:
    """Say whether the server would start with the settings; exit status 78 if not."""
    settings = load_settings(options)
    try:
        server.check(settings)
    except SettingsError as error:
        leave(error)
    click.echo("The settings are valid.")
