"""What `backup` and `restore` share: whose log it is, how far a copy is, and how to leave."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click

from gtower_realtime.commands.server_access import fail
from gtower_realtime.errors import StoreUnavailable, StoreUnusable
from gtower_realtime.settings import Settings
from gtower_realtime.store import sqlite_file
from gtower_realtime.store.sql.backups import NotABackup, Progress


def file_of_the_log(settings: Settings, advice: str) -> Path:
    """Return the SQLite file that the settings name; leave with EX_UNAVAILABLE if it is none.

    ``advice`` is what to do with PostgreSQL; ``{url}`` in it is the database, without a password.
    """
    file = sqlite_file(settings)
    if file is None:
        _leave_without_a_file(settings, advice)
    return file


def _leave_without_a_file(settings: Settings, advice: str) -> NoReturn:
    if settings.store_url == "memory:":
        fail("GTOWER_DATABASE_URL is memory: there is nothing on a disk.", os.EX_UNAVAILABLE)
    fail(
        "the log is in PostgreSQL, whose own programs do this:\n"
        + advice.format(url=_without_password(settings.store_url)),
        os.EX_UNAVAILABLE,
    )


@contextmanager
def problems_as_in_sysexits() -> Iterator[None]:
    """End with a sentence and the fitting status when a log cannot be copied or changed."""
    try:
        yield
    except NotABackup as problem:
        fail(f"{problem}.", os.EX_DATAERR)
    except StoreUnusable as problem:
        fail(problem.message, os.EX_TEMPFAIL)
    except StoreUnavailable as problem:
        fail(problem.message, os.EX_UNAVAILABLE)
    except (OSError, sqlite3.Error) as problem:
        fail(str(problem), os.EX_IOERR)


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Give what shows on a terminal how far a copy is."""
    with click.progressbar(
        length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield tell


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}@{place}").geturl()
