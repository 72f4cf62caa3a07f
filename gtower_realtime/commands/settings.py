"""`settings`: what can be set."""

import json

import click

from gtower_realtime.commands.tables import print_table
from gtower_realtime.settings import SettingRow, rows


@click.command("settings", short_help="List all settings, with what each is for.")
@click.argument("words", metavar="[WORD]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="A JSON array instead of a table.")
def list_settings(*, words: tuple[str, ...], as_json: bool) -> None:
    """List all settings with their defaults, or those with one of the WORDs in their name.

    Each is an environment variable, and an option of `serve` and `check-config`
    (GTOWER_LOG_LEVEL is --log-level), save for secrets: a secret may be in a file that
    `<variable>_FILE` names, or in a systemd credential.
    """
    wanted = [row for row in rows() if not words or any(w.upper() in row.name for w in words)]
    if as_json:
        click.echo(json.dumps([row._asdict() for row in wanted], indent=2, ensure_ascii=False))
        return
    print_table(("SETTING", "DEFAULT", "MEANING"), [_line(row) for row in wanted])


def _line(row: SettingRow) -> tuple[str, str, str]:
    notes = filter(
        None,
        (
            row.unit,
            f"also {row.also}" if row.also else "",
            "secret" if row.is_secret else "",
            "reload" if row.reloads else "",
        ),
    )
    shown = ", ".join(notes)
    return row.name, row.default, f"{row.documentation} ({shown})" if shown else row.documentation
