"""What processes tell each other through Redis, as JSON: changes, sessions. Pure functions.

A change is ``[kind, {field: value}]``, with the names of `records`. The number of its place is not
known when it is written: it is 0 there, and whoever reads it puts in that of the entry.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from gtower_realtime import strict_json
from gtower_realtime.ports import Offset
from gtower_realtime.records import (
    AnswerGiven,
    ClientGone,
    ClientHere,
    ClientMoved,
    EventAcknowledged,
    EventAppended,
    EventRelayed,
    GivenAnswer,
    HistoryDeleted,
    Membership,
    NodeGone,
    NodeStarted,
    RoomEntered,
    RoomLeft,
    SessionAway,
    SessionEnded,
    SessionOpened,
    SessionTaken,
    SharedChange,
    StoredEvent,
    StoredSession,
    WebhookMark,
    WebhookMarked,
)

logger = structlog.get_logger(__name__)

# Deeper than anything that a client can say, which was bounded where it came in.
_MAX_DEPTH = 64

Said = dict[str, Any]

_UNPLACED = re.compile(r'"offset":"\w*-0"')


def write_changes(changes: Sequence[SharedChange]) -> str:
    """Return changes that belong together as JSON text."""
    return strict_json.dumps([[type(change).__name__, change] for change in changes])


def read_changes(text: str, number: int, epoch: str) -> list[SharedChange]:
    """Read what :func:`write_changes` wrote, at its place in the log.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    said = strict_json.loads(text, _MAX_DEPTH)
    return [_READERS[kind](fields, number, epoch) for kind, fields in said]


def changes_of(entry_id: str, text: str, number: int, epoch: str) -> list[SharedChange]:
    """Read what :func:`write_changes` wrote; nothing, and a line in the log, if it is not that."""
    try:
        return read_changes(text, number, epoch)
    except (ValueError, KeyError, TypeError):
        logger.exception("cluster_entry_not_understood", id=entry_id)
        return []


def write_session(session: StoredSession, node: str, number: int) -> str:
    """Return a session as JSON text, as it was at a place in the log, and whose it is."""
    return strict_json.dumps({"node": node, "number": number, "session": session})


def read_session(text: str) -> tuple[StoredSession, str, int]:
    """Read what :func:`write_session` wrote. Raises as :func:`read_changes` does."""
    said = strict_json.loads(text, _MAX_DEPTH)
    return _session(said["session"]), said["node"], said["number"]


def placed_answer(text: str, number: int, epoch: str) -> str:
    """Return an answer with the offset of its event, whose number was 0 when it was written."""
    return _UNPLACED.sub(f'"offset":"{Offset(epoch, number)}"', text)


def _event(said: Said, number: int) -> StoredEvent:
    return StoredEvent(
        number,
        said["id"],
        said["event"],
        said["payload"],
        tuple(said["addresses"]),
        tuple(said["excluded"]),
        said["published_at"],
        said["expires_at"],
        said["wants_acknowledgements"],
    )


def _session(said: Said) -> StoredSession:
    return StoredSession(
        **{**said, "memberships": [Membership(**stay) for stay in said["memberships"]]}
    )


def _opened(said: Said, number: int, _epoch: str) -> SessionOpened:
    session = _session(said["session"])
    session.opened_at_number = number
    for stay in session.memberships:
        stay.after = number
    return SessionOpened(session)


def _answer(said: Said, number: int, epoch: str) -> AnswerGiven:
    answer = said["answer"]
    placed = placed_answer(answer["answer"], number, epoch)
    return AnswerGiven(GivenAnswer(**{**answer, "answer": placed}))


def _here(said: Said, _number: int, _epoch: str) -> ClientHere:
    return ClientHere(**{**said, "rooms": tuple(said["rooms"])})


def _moved(said: Said, _number: int, _epoch: str) -> ClientMoved:
    return ClientMoved(said["client_id"], tuple(said["entered"]), tuple(said["left"]))


_READERS: dict[str, Callable[[Said, int, str], SharedChange]] = {
    "EventAppended": lambda said, number, _: EventAppended(_event(said["event"], number)),
    "EventRelayed": lambda said, number, _: EventRelayed(
        _event(said["event"], number), said["is_droppable"]
    ),
    "EventAcknowledged": lambda said, *_: EventAcknowledged(**said),
    "SessionOpened": _opened,
    "SessionTaken": lambda said, *_: SessionTaken(_session(said["session"]), said["is_return"]),
    "SessionAway": lambda said, *_: SessionAway(**said),
    "SessionEnded": lambda said, *_: SessionEnded(**said),
    "RoomEntered": lambda said, number, _: RoomEntered(said["client_id"], said["room"], number),
    "RoomLeft": lambda said, number, _: RoomLeft(said["client_id"], said["room"], number),
    "AnswerGiven": _answer,
    "WebhookMarked": lambda said, *_: WebhookMarked(WebhookMark(**said["mark"])),
    "HistoryDeleted": lambda said, *_: HistoryDeleted(**said),
    "ClientHere": _here,
    "ClientMoved": _moved,
    "ClientGone": lambda said, *_: ClientGone(**said),
    "NodeStarted": lambda said, *_: NodeStarted(**said),
    "NodeGone": lambda said, *_: NodeGone(**said),
}
