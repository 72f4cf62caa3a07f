"""What the commands share: settings as options, and how to leave when settings are wrong."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import click

from gtower_realtime.settings import PREFIX, Settings, SettingsError, rows

Function = Callable[..., Any]


def setting_options(function: Function) -> Function:
    """Add an option for each setting; not for secrets, which everybody would see in ``ps``."""
    for row in reversed(rows()):
        if not row.is_secret:
            help_text = f"{row.documentation} [{row.name}; default {row.default}]"
            function = click.option(flag_of(row.name), row.name, metavar="VALUE", help=help_text)(
                function
            )
    return function


def environment(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment with the options that were given in the place of its variables."""
    given = {name: value for name, value in options.items() if value is not None}
    return {**os.environ, **given}


def flag_of(setting: str) -> str:
    """Return the option that stands for a setting: ``--log-level`` for ``GTOWER_LOG_LEVEL``."""
    return "--" + setting.removeprefix(PREFIX).lower().replace("_", "-")


def load_settings(options: Mapping[str, str | None]) -> Settings:
    """Read the settings, options before the environment; leave with EX_CONFIG if they are wrong."""
    try:
        settings = Settings.load(environment(options))
    except SettingsError as error:
        leave(error)
    warn(settings.warnings)
    return settings


def leave(error: SettingsError) -> NoReturn:
    """Say all that is wrong with the settings, and end with EX_CONFIG (78)."""
    warn(error.warnings)
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(os.EX_CONFIG)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings on standard error, a line each."""
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
