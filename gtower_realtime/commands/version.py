"""`version`: which one this is."""

import click

from gtower_realtime import __version__

NAME = "GTower Realtime"


@click.command()
def version() -> None:
    """Say which version this is."""
    click.echo(f"{NAME} {__version__}")
