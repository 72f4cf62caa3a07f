"""The SQL of the event store, made once, and what its rows are in `records`.

Statements take their parameters by name. Columns that are to be set have their own names; a
parameter that is compared with something has a name of ours, since SQLAlchemy keeps them apart.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from gtower_realtime.records import (
    CountedMinute,
    GivenAnswer,
    Membership,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionResumed,
    StoredSession,
)
from gtower_realtime.store.sql.batches import LaterChange
from gtower_realtime.store.sql.database import Parameters
from gtower_realtime.store.sql.events import EventTables
from gtower_realtime.store.sql.schema import (
    answers,
    event_addresses,
    events,
    log,
    memberships,
    minutes,
    sessions,
)

InsertInto = Callable[[Table], Any]
"""Makes an INSERT of a dialect, one that knows ON CONFLICT."""

_CLIENT = bindparam("client", type_=Text)
_CLIENTS = bindparam("clients", expanding=True, type_=Text)
_IN_ROOM = bindparam("in_room", type_=Text)
_PLACE = bindparam("place", type_=BigInteger)
_FOLLOWING = bindparam("following", type_=BigInteger)
_UP_TO = bindparam("up_to", type_=BigInteger)
_NOW = bindparam("now", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)
_MAX_BYTES = bindparam("max_bytes", type_=BigInteger)
_EXPECTED = bindparam("expected", type_=BigInteger)
_WANTED = bindparam("wanted", type_=Text)

# The log as a whole

READ_LOG = select(log)
UPDATE_LOG = update(log).where(log.c.transactions == _EXPECTED)
"""Finds no row if anybody else has written since."""

# Events

EVENTS = EventTables(events, event_addresses, first_stretch=10_000)

_newest = (
    select(
        events.c.number,
        func.sum(events.c.size).over(order_by=events.c.number.desc()).label("bytes"),
    )
    .order_by(events.c.number.desc())
    .limit(_LIMIT)
    .subquery()
)
READ_RECENT = (
    select(events)
    .where(
        events.c.number.in_(select(_newest.c.number).where(_newest.c.bytes <= _MAX_BYTES)),
    )
    .order_by(events.c.number)
)

# Sessions and memberships

READ_SESSIONS = select(sessions)
READ_MEMBERSHIPS = select(memberships).order_by(memberships.c.id)
READ_SESSIONS_OF = READ_SESSIONS.where(sessions.c.client_id.in_(_CLIENTS))
READ_MEMBERSHIPS_OF = READ_MEMBERSHIPS.where(memberships.c.client_id.in_(_CLIENTS))

INSERT_SESSION = insert(sessions)
INSERT_MEMBERSHIP = insert(memberships)
CHANGE_SESSION = update(sessions).where(sessions.c.client_id == _CLIENT)
DELETE_SESSION = delete(sessions).where(sessions.c.client_id == _CLIENT)
DELETE_MEMBERSHIPS = delete(memberships).where(memberships.c.client_id == _CLIENT)
END_MEMBERSHIP = update(memberships).where(
    memberships.c.client_id == _CLIENT,
    memberships.c.room == _IN_ROOM,
    memberships.c.until.is_(None),
)
DELETE_PAST_MEMBERSHIPS = delete(memberships).where(
    memberships.c.id.in_(
        select(memberships.c.id)
        .where(memberships.c.until < _PLACE)
        .order_by(memberships.c.until)
        .limit(_LIMIT)
    )
)
DELETE_ALL_SESSIONS = delete(sessions)
DELETE_ALL_MEMBERSHIPS = delete(memberships)

_membership_to_be = select(
    sessions.c.client_id, _IN_ROOM.label("room"), _FOLLOWING.label("after")
).where(sessions.c.client_id == _CLIENT)

# Answers

READ_ANSWER = select(answers).where(answers.c.key == _WANTED, answers.c.expires_at > _NOW)
DELETE_ANSWER = delete(answers).where(answers.c.key == _WANTED)
DELETE_EXPIRED_ANSWERS = delete(answers).where(
    answers.c.key.in_(
        select(answers.c.key)
        .where(answers.c.expires_at <= _NOW)
        .order_by(answers.c.expires_at)
        .limit(_LIMIT)
    )
)


# Counted minutes

INSERT_MINUTE = insert(minutes)
READ_MINUTES = (
    select(minutes)
    .where(minutes.c.at >= _FOLLOWING, minutes.c.at < _UP_TO)
    .order_by(minutes.c.at, minutes.c.id)
)
DELETE_MINUTE = delete(minutes).where(minutes.c.at == _PLACE, minutes.c.id == _WANTED)
DELETE_OLD_MINUTES = delete(minutes).where(
    minutes.c.at.in_(
        select(minutes.c.at).where(minutes.c.at < _UP_TO).order_by(minutes.c.at).limit(_LIMIT)
    )
)


def insert_membership_of_session(insert_into: InsertInto) -> Any:
    """Return what makes a client with a session a member of a room, if it is none."""
    into = insert_into(memberships)
    return into.from_select(
        ["client_id", "room", "after"], _membership_to_be
    ).on_conflict_do_nothing()


def put_answer(insert_into: InsertInto) -> Any:
    """Return what puts an answer in the place of an older one."""
    into = insert_into(answers)
    return into.on_conflict_do_update(
        index_elements=[answers.c.key],
        set_={name: into.excluded[name] for name in ("fingerprint", "answer", "expires_at")},
    )


# Rows


def session_row(session: StoredSession) -> Parameters:
    """Return the row of a session."""
    return {
        "client_id": session.client_id,
        "pid": session.pid,
        "namespace": session.namespace,
        "user_id": session.user_id,
        "opened_at_number": session.opened_at_number,
        "away_since": session.away_since,
    }


def membership_rows(session: StoredSession) -> list[Parameters]:
    """Return the rows of a session's memberships."""
    return [
        {
            "client_id": session.client_id,
            "room": stay.room,
            "after": stay.after,
            "until": stay.until,
        }
        for stay in session.memberships
    ]


def sessions_of(rows: Iterable[Row[Any]], stays: Iterable[Row[Any]]) -> list[StoredSession]:
    """Return the sessions of ``rows`` with the memberships of ``stays``."""
    found = {
        row.client_id: StoredSession(
            client_id=row.client_id,
            pid=row.pid,
            namespace=row.namespace,
            user_id=row.user_id,
            opened_at_number=row.opened_at_number,
            away_since=row.away_since,
        )
        for row in rows
    }
    for stay in stays:
        found[stay.client_id].memberships.append(Membership(stay.room, stay.after, stay.until))
    return list(found.values())


def change_row(change: LaterChange) -> Parameters:
    """Return the parameters of a change of a session."""
    match change:
        case SessionAway(client_id, since):
            return {"client": client_id, "away_since": since}
        case SessionResumed(client_id):
            return {"client": client_id, "away_since": None}
        case RoomEntered(client_id, room, number):
            return {"client": client_id, "in_room": room, "following": number}
        case RoomLeft(client_id, room, number):
            return {"client": client_id, "in_room": room, "until": number}
        case SessionEnded(client_id):
            return {"client": client_id}


def answer_row(answer: GivenAnswer) -> Parameters:
    """Return the row of an answer."""
    return {
        "key": answer.key,
        "fingerprint": answer.fingerprint,
        "answer": answer.answer,
        "expires_at": answer.expires_at,
    }


def answer_of(row: Row[Any]) -> GivenAnswer:
    """Return the answer of a row."""
    return GivenAnswer(
        key=row.key,
        fingerprint=row.fingerprint,
        answer=row.answer,
        expires_at=row.expires_at,
    )


def minute_row(minute: CountedMinute) -> Parameters:
    """Return the row of a counted minute."""
    return {"at": minute.at, "id": minute.id, "counts": minute.counts}


def minute_of(row: Row[Any]) -> CountedMinute:
    """Return the counted minute of a row."""
    return CountedMinute(id=row.id, at=row.at, counts=row.counts)
