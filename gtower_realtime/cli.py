"""The command line: which commands there are, and what a line without one means."""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "serve": "serve.serve",
    "check-config": "check_config.check_config",
    "settings": "settings.list_settings",
    "make-key": "make_key.make_key",
    "make-token": "make_token.make_token",
    "publish": "publish.publish",
    "listen": "listen.listen",
    "doctor": "doctor.doctor",
    "whatsapp": "whatsapp.whatsapp",
    "backup": "backup.backup",
    "restore": "restore.restore",
    "reference": "reference.show_reference",
    "systemd-unit": "systemd_unit.systemd_unit",
    "version": "version.version",
}
"""Each command: its module in ``commands/``, and the command's name there."""


class _LoadedWhenUsed(MutableMapping[str, click.Command]):
    """The commands by name. A module is imported when its command is asked for.

    `serve` has no use for an HTTP client, nor `publish` for a server, which takes a second.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(".")
            loaded = import_module(f"gtower_realtime.commands.{module}")
            self._loaded[name] = getattr(loaded, attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places[name] = ""
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


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
    commands=_LoadedWhenUsed(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """GTower Realtime: Socket.IO for browsers, an HTTP API for back-ends.

    Without a command it serves. Settings are environment variables; `settings` lists them. Exit
    statuses are those of sysexits.h: 64 for a wrong command line, 78 for wrong settings.

    \b
    Completion by the shell, for bash (zsh and fish alike):
      eval "$(_GTOWER_REALTIME_COMPLETE=bash_source gtower-realtime)"
    """
