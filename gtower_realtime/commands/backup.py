"""`backup`: a copy of the log, while the server runs."""

import json
import os
from pathlib import Path

import click

from gtower_realtime.commands.options import load_settings
from gtower_realtime.commands.server_access import fail
from gtower_realtime.commands.stored_log import file_of_the_log, problems_as_in_sysexits, progress
from gtower_realtime.commands.tables import print_pairs
from gtower_realtime.store.sql.backups import back_up

_POSTGRESQL = """\
Back up:  pg_dump --format=custom --table='gtower_*' --file=FILE {url}
Restore, while the server is stopped:
          pg_restore --clean --if-exists --dbname={url} FILE
          gtower-realtime restore --mark-only"""


@click.command("backup", short_help="Copy the log, while the server runs.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over PATH if it is there.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def backup(*, path: Path, force: bool, as_json: bool) -> None:
    """Copy the log (events, sessions, answers) to the file PATH, which `restore` takes.

    The copy is of one moment, also while a server writes, and has everything that was acknowledged
    before. The settings say where the log is. For PostgreSQL it says which commands to use.

    \b
    Exit status: 0 done, 65 not a log, 66 no log there, 69 not in SQLite,
    73 PATH is there already, 74 the disk.
    """
    log = file_of_the_log(load_settings({}), _POSTGRESQL)
    if not log.exists():
        fail(f"there is no log at {log}; do the settings name the right one?", os.EX_NOINPUT)
    if path.exists() and not force:
        fail(f"{path} is there already; choose another name, or --force.", os.EX_CANTCREAT)
    with problems_as_in_sysexits(), progress("Copying") as tell:
        contents = back_up(log, path, tell)
    made = {"log": str(log), "backup": str(path), **contents._asdict()}
    if as_json:
        click.echo(json.dumps(made, ensure_ascii=False))
    else:
        print_pairs((name, str(value)) for name, value in made.items())
