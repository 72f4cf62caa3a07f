"""`check-config`: whether the server would start, with which settings, and what is risky."""

import json
import os
import sys
from collections.abc import Mapping

import click

from gtower_realtime import server
from gtower_realtime.commands.cautions import cautions, open_files
from gtower_realtime.commands.options import environment, flag_of, setting_options, warn
from gtower_realtime.commands.tables import print_table
from gtower_realtime.settings import EffectiveSetting, Settings, SettingsError, effective


@click.command("check-config", short_help="Say whether the server would start, and how.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
@setting_options
def check_config(*, as_json: bool, **options: str | None) -> None:
    """Say whether the server would start with these settings; exit status 78 if not.

    Shows what each setting is and where that comes from, without secrets, then everything that is
    wrong, names that no setting has, and what is allowed and may not be meant.
    """
    environ = environment(options)
    table = [_as_given(setting, options) for setting in effective(environ)]
    problems, warnings = _findings(environ)
    if as_json:
        shown = [setting._asdict() for setting in table]
        result = {"settings": shown, "warnings": warnings, "problems": problems}
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print_table(("SETTING", "FROM", "VALUE"), [_line(setting) for setting in table])
        warn(warnings)
        for problem in problems:
            click.echo(problem, err=True)
    if problems:
        sys.exit(os.EX_CONFIG)
    if not as_json:
        click.echo("The settings are valid.")


def _findings(environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return what is wrong, and what is strange or risky."""
    try:
        settings = Settings.load(environ)
    except SettingsError as error:
        return list(error.problems), list(error.warnings)
    warnings = [*settings.warnings, *cautions(settings, open_files=open_files())]
    try:
        server.check(settings)
    except SettingsError as error:
        return list(error.problems), warnings
    return [], warnings


def _as_given(setting: EffectiveSetting, options: Mapping[str, str | None]) -> EffectiveSetting:
    if options.get(setting.name) is None:
        return setting
    return setting._replace(source="option", place=flag_of(setting.name))


def _line(setting: EffectiveSetting) -> tuple[str, str, str]:
    is_its_own = setting.place in {"", setting.name}
    source = setting.source if is_its_own else f"{setting.source} {setting.place}"
    return setting.name, source, setting.value or "-"
