"""`restore`: a copy of the log in the log's place, while the server is stopped."""

import asyncio
import json
import os
from pathlib import Path

import click

from gtower_realtime.commands.options import load_settings
from gtower_realtime.commands.server_access import fail
from gtower_realtime.commands.stored_log import file_of_the_log, problems_as_in_sysexits, progress
from gtower_realtime.commands.tables import print_pairs
from gtower_realtime.settings import Settings
from gtower_realtime.store import open_database, sqlite_file
from gtower_realtime.store.sql import backups

_POSTGRESQL = """\
Restore, while the server is stopped:
          pg_restore --clean --if-exists --dbname={url} FILE
          gtower-realtime restore --mark-only"""


@click.command("restore", short_help="Put a backup back, while the server is stopped.")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mark-only",
    is_flag=True,
    help="Only say of a log that was restored by other means that it is of the past.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def restore(*, path: Path | None, mark_only: bool, as_json: bool) -> None:
    """Put the backup PATH in the place of the log that the settings name.

    The server must be stopped. The log that was there stays beside it, as FILE.before-restore,
    until the next restore. The server then begins a new epoch: clients that have seen what is not
    in the backup get a fresh session and the reason `epoch_changed`.

    \b
    Exit status: 0 done, 65 not a backup, 66 no such file, 69 not in SQLite,
    74 the disk, 75 a server uses the log.
    """
    if (path is None) != mark_only:
        raise click.UsageError("Give either PATH or --mark-only.")
    settings = load_settings({})
    done = _marked(settings) if path is None else _restored(path, settings)
    if as_json:
        click.echo(json.dumps(done, ensure_ascii=False))
    else:
        print_pairs((name, str(value)) for name, value in done.items() if value is not None)


def _restored(path: Path, settings: Settings) -> dict[str, str | int | None]:
    log = file_of_the_log(settings, _POSTGRESQL)
    if not path.exists():
        fail(f"there is no file {path}.", os.EX_NOINPUT)
    with problems_as_in_sysexits(), progress("Copying") as tell:
        contents, kept = backups.restore(path, log, tell)
    before = None if kept is None else str(kept)
    return {"backup": str(path), "log": str(log), **contents._asdict(), "before": before}


def _marked(settings: Settings) -> dict[str, str | int | None]:
    file = sqlite_file(settings)
    if file is None and settings.store_url == "memory:":
        file_of_the_log(settings, _POSTGRESQL)
    if file is not None and not file.exists():
        fail(f"there is no log at {file}.", os.EX_NOINPUT)
    with problems_as_in_sysexits():
        database = open_database(settings)
        asyncio.run(backups.mark_as_past(database))
    return {"marked": database.name}
