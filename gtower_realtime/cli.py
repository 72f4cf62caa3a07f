"""The command line: which commands there are, and what a line without one means."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the line; what is wrong with it ends with EX_USAGE."""
        with _usage_errors_as_in_sysexits():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry the command out; what is wrong with its line ends with EX_USAGE."""
        with _usage_errors_as_in_sysexits():
            return super().invoke(ctx)

    def help_names(self, ctx: click.Context) -> list[str]:
        """Return the options that ask for this group's own help."""
        return self.get_help_option_names(ctx)


@contextmanager
def _usage_errors_as_in_sysexits() -> Iterator[None]:
    """Have usage errors leave with 64, as all other statuses are those of sysexits.h; not 2."""
    try:
        yield
    except click.UsageError as problem:
        problem.show()
        raise click.exceptions.Exit(os.EX_USAGE) from None


@click.group(
    cls=_ServesByDefault,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def main() -> None:
    """GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends.

    Without a command it serves. Settings are environment variables; `settings` lists them. Exit
    statuses are those of sysexits.h: 64 for a wrong command line, 78 for wrong settings.

    \b
    Completion by the shell, for bash (zsh and fish alike):
      eval "$(_GTOWER_REALTIME_COMPLETE=bash_source gtower-realtime)"
    """
