"""`whatsapp`: the commands of Meta's webhook."""

import click

from gtower_realtime.commands.whatsapp_replay import replay
from gtower_realtime.commands.whatsapp_simulate import simulate
from gtower_realtime.commands.whatsapp_verify import verify


@click.group(commands=(verify, simulate, replay))
def whatsapp() -> None:
    """Verify, try out and replay the WhatsApp webhook."""
