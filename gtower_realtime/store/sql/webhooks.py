"""The SQL of the inbox of webhooks and of their marks, and what its rows are in `records`."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Row, Text, bindparam, delete, func, insert, select, update

from gtower_realtime.records import StoredWebhook, WebhookBacklog, WebhookMark
from gtower_realtime.store.sql.database import Connection, Parameters
from gtower_realtime.store.sql.schema import webhook_marks as marks
from gtower_realtime.store.sql.schema import webhooks
from gtower_realtime.store.sql.statements import InsertInto

_KEYS = bindparam("keys", expanding=True, type_=Text)
_KEY = bindparam("wanted", type_=Text)
_PLACE = bindparam("place", type_=BigInteger)
_STATE = bindparam("in_state", type_=Text)
_SINCE = bindparam("since", type_=BigInteger)
_UP_TO = bindparam("up_to", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)

INSERT = insert(webhooks)
SETTLE = update(webhooks).where(webhooks.c.number == _PLACE, webhooks.c.state == "waiting")
UNSETTLE = update(webhooks).where(webhooks.c.number == _PLACE).values(state="waiting")
DELETE = delete(webhooks).where(webhooks.c.number == _PLACE)
REPLAY_SET_ASIDE = update(webhooks).where(webhooks.c.state == "set_aside").values(state="waiting")
REPLAY_SINCE = (
    update(webhooks)
    .where(webhooks.c.state != "waiting", webhooks.c.received_at >= _SINCE)
    .values(state="waiting")
)
READ_TOTALS = select(
    func.count().label("webhooks"), func.coalesce(func.sum(webhooks.c.size), 0).label("bytes")
).where(webhooks.c.state == _STATE)
READ_OLDEST = (
    select(webhooks.c.number, webhooks.c.size, webhooks.c.received_at.label("published_at"))
    .where(webhooks.c.state == _STATE)
    .order_by(webhooks.c.number)
    .limit(_LIMIT)
)

INSERT_MARK = insert(marks)
DELETE_MARK = delete(marks).where(marks.c.key == _KEY)
DELETE_OLD_MARKS = delete(marks).where(
    marks.c.key.in_(
        select(marks.c.key).where(marks.c.at < _UP_TO).order_by(marks.c.at).limit(_LIMIT)
    )
)

_LAST_NUMBER = select(func.coalesce(func.max(webhooks.c.number), 0))
_NEXT = select(webhooks).where(webhooks.c.state == "waiting").order_by(webhooks.c.number).limit(1)
_READ_MARKS = select(marks).where(marks.c.key.in_(_KEYS))


def put_mark(insert_into: InsertInto) -> Any:
    """Return what puts a mark in the place of an older one."""
    into = insert_into(marks)
    return into.on_conflict_do_update(
        index_elements=[marks.c.key],
        set_={name: into.excluded[name] for name in ("value", "at")},
    )


async def read_backlog(connection: Connection) -> WebhookBacklog:
    """Return how much is waiting."""
    last = (await connection.execute(_LAST_NUMBER)).scalar_one()
    row = (await connection.execute(READ_TOTALS, {"in_state": "waiting"})).one()
    return WebhookBacklog(last, row.webhooks, int(row.bytes))


async def read_next(connection: Connection) -> StoredWebhook | None:
    """Return the oldest that is waiting."""
    row = (await connection.execute(_NEXT)).one_or_none()
    return None if row is None else StoredWebhook(row.number, row.received_at, bytes(row.body))


async def read_marks(keys: Collection[str], connection: Connection) -> list[WebhookMark]:
    """Return the marks with ``keys``, as far as there are any."""
    rows = (await connection.execute(_READ_MARKS, {"keys": list(keys)})).all()
    return list(map(_mark_of, rows))


def _mark_of(row: Row[Any]) -> WebhookMark:
    return WebhookMark(key=row.key, value=row.value, at=row.at)


def webhook_row(webhook: StoredWebhook) -> Parameters:
    """Return the row of a webhook that is waiting."""
    return {
        "number": webhook.number,
        "received_at": webhook.received_at,
        "size": len(webhook.body),
        "state": "waiting",
        "body": webhook.body,
    }


def mark_row(mark: WebhookMark) -> Parameters:
    """Return the row of a mark."""
    return {"key": mark.key, "value": mark.value, "at": mark.at}
