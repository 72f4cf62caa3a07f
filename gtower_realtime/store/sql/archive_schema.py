"""The tables of the archive that the nodes of a cluster share, in PostgreSQL, and their versions.

They stand beside those of `schema`, which belong to a process alone, and have nothing of them.
"""

from collections.abc import Callable

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, inspect

from gtower_realtime.store.sql.schema import Name, event_tables, upgrade

metadata = MetaData()

archive = Table(
    "gtower_archive",
    metadata,
    Column("schema_version", Integer, nullable=False),
    # The life of the cluster's log that filled_until is of; empty before anybody has said.
    Column("epoch", Text, nullable=False),
    # The last number that was added.
    Column("filled_until", BigInteger, nullable=False),
    # What follows was added without a gap.
    Column("complete_after", BigInteger, nullable=False),
    # Beyond the bounds, and deleted.
    Column("trimmed_until", BigInteger, nullable=False),
    # Of the events that are kept.
    Column("events", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
"""One row: the archive as a whole. Whoever changes anything holds its lock."""

events, event_addresses = event_tables(metadata, "gtower_archive_")

deletions = Table(
    "gtower_archive_deletions",
    metadata,
    Column("room", Name, primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)
"""Histories that were deleted, so that no node that is late adds them again."""

UPGRADES: list[Callable[[Connection], None]] = []
"""From version 1 to 2, from 2 to 3, and so on. Each knows the tables as they were then."""


def prepare(connection: Connection) -> None:
    """Make the tables of a new archive, or bring the existing ones to this version.

    It is for the caller to keep others out meanwhile, and to commit.

    Raises:
        StoreUnusable: the tables are of a version that this program does not know.
    """
    if inspect(connection).has_table(archive.name):
        upgrade(connection, archive.c.schema_version, UPGRADES)
        return
    metadata.create_all(connection)
    connection.execute(
        archive.insert().values(
            schema_version=1 + len(UPGRADES),
            epoch="",
            filled_until=0,
            complete_after=0,
            trimmed_until=0,
            events=0,
            bytes=0,
        )
    )
