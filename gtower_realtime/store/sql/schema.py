"""The tables of the event store and their versions, for SQLite and PostgreSQL alike.

A change of the tables is one function more in `UPGRADES`; a database is brought to the newest
version when it is opened, in one transaction, and never back.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    update,
)

from gtower_realtime.errors import StoreUnusable

# SQLite looks rows up by number without an index of its own only if the type is called INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
# Names are compared for equality only; other collations make an index slow.
Name = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()

log = Table(
    "gtower_log",
    metadata,
    Column("schema_version", Integer, nullable=False),
    Column("epoch", Text, nullable=False),
    # Rises with each transaction: shows whether one whose outcome was not heard happened.
    Column("transactions", BigInteger, nullable=False),
    # All from first_number on are kept, save for those that expired or whose history was deleted.
    Column("first_number", BigInteger, nullable=False),
    Column("last_number", BigInteger, nullable=False),
    # Of the events that are kept.
    Column("events", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    # The boot of the machine in which somebody writes who does not wait for the disk.
    Column("unsynced_boot", Text),
)
"""One row: the log as a whole."""

OF_THE_PAST = "backup"
"""In ``unsynced_boot``: clients may have seen more than is here, as of a backup."""


def event_tables(metadata: MetaData, prefix: str) -> tuple[Table, Table]:
    """Return two tables: events, and their addresses once more, for reading those of some."""
    events = Table(
        f"{prefix}events",
        metadata,
        Column("number", _Number, primary_key=True, autoincrement=False),
        Column("size", Integer, nullable=False),
        Column("published_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger),
        Column("id", Text, nullable=False),
        Column("event", Text, nullable=False),
        # Lists of texts, in JSON.
        Column("addresses", Text, nullable=False),
        Column("excluded", Text, nullable=False),
        Column("payload", Text, nullable=False),
    )
    Index(
        f"{prefix}events_expiring",
        events.c.expires_at,
        sqlite_where=events.c.expires_at.is_not(None),
        postgresql_where=events.c.expires_at.is_not(None),
    )
    event_addresses = Table(
        f"{prefix}event_addresses",
        metadata,
        Column("address", Name, primary_key=True),
        Column("number", _Number, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    return events, event_addresses


events, event_addresses = event_tables(metadata, "gtower_")

sessions = Table(
    "gtower_sessions",
    metadata,
    Column("client_id", Name, primary_key=True),
    Column("pid", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("user_id", Text),
    Column("opened_at_number", BigInteger, nullable=False),
    Column("away_since", BigInteger),
    sqlite_with_rowid=False,
)

memberships = Table(
    "gtower_memberships",
    metadata,
    # Rises in the order of entering.
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("client_id", Name, nullable=False),
    Column("room", Name, nullable=False),
    Column("after", BigInteger, nullable=False),
    Column("until", BigInteger),
)
Index("gtower_memberships_of", memberships.c.client_id)
Index(
    "gtower_memberships_present",
    memberships.c.client_id,
    memberships.c.room,
    unique=True,
    sqlite_where=memberships.c.until.is_(None),
    postgresql_where=memberships.c.until.is_(None),
)
Index(
    "gtower_memberships_past",
    memberships.c.until,
    sqlite_where=memberships.c.until.is_not(None),
    postgresql_where=memberships.c.until.is_not(None),
)

answers = Table(
    "gtower_answers",
    metadata,
    Column("key", Name, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

minutes = Table(
    "gtower_minutes",
    metadata,
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Name, primary_key=True),
    Column("counts", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What was counted, minute by minute."""


webhooks = Table(
    "gtower_webhooks",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("received_at", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("state", Name, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Bodies that came in signed."""
# All that is asked of a webhook but its body.
Index(
    "gtower_webhooks_by_state",
    webhooks.c.state,
    webhooks.c.number,
    webhooks.c.size,
    webhooks.c.received_at,
)

webhook_marks = Table(
    "gtower_webhook_marks",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
)
"""What of them was published."""

outbox = Table(
    "gtower_outbox",
    metadata,
    # Rises in the order of putting.
    Column("place", _Number, primary_key=True, autoincrement=True),
    Column("origin", Name, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("text", Text, nullable=False),
)
"""What other nodes have not been sent yet."""
Index("gtower_outbox_of", outbox.c.origin, outbox.c.sequence, unique=True)


def _add_minutes(connection: Connection) -> None:
    text = "TEXT" if connection.dialect.name == "sqlite" else 'TEXT COLLATE "C"'
    end = " WITHOUT ROWID" if connection.dialect.name == "sqlite" else ""
    connection.exec_driver_sql(
        f"CREATE TABLE gtower_minutes (at BIGINT NOT NULL, id {text} NOT NULL, "
        f"counts TEXT NOT NULL, PRIMARY KEY (at, id)){end}"
    )


def _add_webhooks(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    number, text, binary = (
        ("INTEGER", "TEXT", "BLOB") if is_sqlite else ("BIGINT", 'TEXT COLLATE "C"', "BYTEA")
    )
    for statement in (
        f"CREATE TABLE gtower_webhooks (number {number} NOT NULL PRIMARY KEY, "
        f"received_at BIGINT NOT NULL, size INTEGER NOT NULL, state {text} NOT NULL, "
        f"body {binary} NOT NULL)",
        "CREATE INDEX gtower_webhooks_by_state "
        "ON gtower_webhooks (state, number, size, received_at)",
        f"CREATE TABLE gtower_webhook_marks (key {text} NOT NULL PRIMARY KEY, "
        "value TEXT NOT NULL, at BIGINT NOT NULL)",
        "CREATE INDEX ix_gtower_webhook_marks_at ON gtower_webhook_marks (at)",
    ):
        connection.exec_driver_sql(statement)


def _add_outbox(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    number, text = ("INTEGER", "TEXT") if is_sqlite else ("BIGSERIAL", 'TEXT COLLATE "C"')
    for statement in (
        f"CREATE TABLE gtower_outbox (place {number} NOT NULL PRIMARY KEY, "
        f"origin {text} NOT NULL, sequence BIGINT NOT NULL, size INTEGER NOT NULL, "
        "text TEXT NOT NULL)",
        "CREATE UNIQUE INDEX gtower_outbox_of ON gtower_outbox (origin, sequence)",
    ):
        connection.exec_driver_sql(statement)


UPGRADES: list[Callable[[Connection], None]] = [_add_minutes, _add_webhooks, _add_outbox]
"""From version 1 to 2, from 2 to 3, and so on. Each knows the tables as they were then."""


def newest_version() -> int:
    """Return the version that this program knows."""
    return 1 + len(UPGRADES)


def prepare(connection: Connection, epoch: str) -> None:
    """Make the tables of a new log called ``epoch``, or bring the existing ones to this version.

    It is for the caller to commit.

    Raises:
        StoreUnusable: the tables are of a version that this program does not know.
    """
    if connection.dialect.name == "sqlite":
        # Its driver begins a transaction by itself only before rows are changed.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if not inspect(connection).has_table(log.name):
        metadata.create_all(connection)
        connection.execute(
            log.insert().values(
                schema_version=newest_version(),
                epoch=epoch,
                transactions=0,
                first_number=1,
                last_number=0,
                events=0,
                bytes=0,
            )
        )
        return
    upgrade(connection, log.c.schema_version, UPGRADES)


def upgrade(
    connection: Connection,
    schema_version: Column[int],
    upgrades: Sequence[Callable[[Connection], None]],
) -> None:
    """Bring tables to the newest version; ``schema_version`` is the column that has theirs.

    ``upgrades`` lead from version 1 to 2, from 2 to 3, and so on. It is for the caller to commit.

    Raises:
        StoreUnusable: the tables are of a version that this program does not know.
    """
    version, newest = connection.execute(select(schema_version)).scalar_one(), 1 + len(upgrades)
    if version > newest:
        raise StoreUnusable(
            f"It belongs to a newer version of GTower Realtime: its tables are of version "
            f"{version}, this program knows them up to version {newest}. Install the "
            "newer program, or set GTOWER_DATABASE_URL to another database."
        )
    for step in upgrades[version - 1 :]:
        step(connection)
    if version < newest:
        connection.execute(update(schema_version.table).values(schema_version=newest))
