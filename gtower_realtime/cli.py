"""The command line: which commands there are, and what a line without one means."""

import click

from gtower_realtime.commands.check_config import check_config
from gtower_realtime.commands.make_key import make_key
from gtower_realtime.commands.make_token import make_token
from gtower_realtime.commands.reference import show_reference
from gtower_realtime.commands.serve import serve
from gtower_realtime.commands.settings import list_settings
from gtower_realtime.commands.systemd_unit import systemd_unit
from gtower_realtime.commands.version import version

COMMANDS = (
    serve,
    check_config,
    list_settings,
    make_key,
    make_token,
    show_reference,
    systemd_unit,
    version,
)


class _ServesByDefault(click.Group):
    """A group that takes a line without a command as one for ``serve``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_for_us = bool(args) and (args[0] in self.help_names(ctx) or not args[0].startswith("-"))
        return super().parse_args(ctx, args if is_for_us else ["serve", *args])

    def help_names(self, ctx: click.Context) -> list[str]:
        """Return the options that ask for this group's own help."""
        return self.get_help_option_names(ctx)


@click.group(
    cls=_ServesByDefault,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def main() -> None:
    """GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends.

    Without a command it serves. Settings are environment variables; `settings` lists them.
    """
