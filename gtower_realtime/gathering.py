"""Reads that every process of a cluster can answer a part of, put together. No wires."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gtower_realtime.analytics import Analytics
from gtower_realtime.errors import UnknownEventId
from gtower_realtime.peers import Arguments, Missing, Peers, told_missing
from gtower_realtime.timestamps import parse_timestamp
from gtower_realtime.traces import CLIENTS_OF_A_PAGE, UNKNOWN_CLIENT, TracedEvent, Traces

_TRACE = "trace"
_POINTS = "points"

# The farther an event has come with a client, the more the process that says so knows of it.
_STATES = ("not_matched", "dropped", "pending", "queued", "written", "acknowledged")


class Gathering:
    """Asks all processes and puts together what they answer."""

    def __init__(self, traces: Traces, analytics: Analytics, peers: Peers) -> None:
        self._traces = traces
        self._analytics = analytics
        self._peers = peers
        peers.answer(_TRACE, self._trace_here)
        peers.answer(_POINTS, self._points_here)

    async def roll_call(self) -> Missing:
        """Wait until what has happened at other processes is known here; see `Peers.roll_call`."""
        return await self._peers.roll_call()

    async def trace(
        self,
        event: TracedEvent,
        client_id: str | None = None,
        user_id: str | None = None,
        after: str | None = None,
        limit: int = CLIENTS_OF_A_PAGE,
    ) -> dict[str, Any]:
        """Return what became of an event at the clients of all processes; see `Traces.describe`.

        Where there are others, the clients are in the order of their ids.
        """
        if not self._peers.count:
            return await self._traces.describe(event, client_id, user_id, after, limit)
        wish = {
            "id": event.id,
            "client": client_id,
            "user": user_id,
            "after": after,
            "limit": limit,
        }
        answers, missing = await self._peers.ask_all(_TRACE, wish)
        told = [await self._describe(event, wish), *(answer for answer in answers if answer)]
        whole = next((one for one in told if one["isOurs"]), told[0])
        clients = sorted(_furthest(told).values(), key=_id_of)
        return {
            **{name: value for name, value in whole.items() if name != "isOurs"},
            "recipients": sum(one["recipients"] for one in told),
            "clients": clients[:limit],
            "more": len(clients) > limit or any(one["more"] for one in told),
            **told_missing(missing),
        }

    async def _trace_here(self, wish: Arguments) -> dict[str, Any]:
        try:
            event = self._traces.find(wish["id"])
        except UnknownEventId:
            return {}
        return await self._describe(event, wish)

    async def _describe(self, event: TracedEvent, wish: Arguments) -> dict[str, Any]:
        told = await self._traces.describe(
            event, wish["client"], wish["user"], wish["after"], wish["limit"], by_id=True
        )
        return {**told, "isOurs": event.is_ours}

    async def points(self, start: datetime | None, end: datetime | None) -> dict[str, Any]:
        """Return what all processes have counted; see `Analytics.points`."""
        told = await self._analytics.points(start, end)
        if not self._peers.count:
            return told
        answers, missing = await self._peers.ask_all(
            _POINTS, {"from": told["from"], "to": told["to"]}
        )
        parts = [answer["points"] for answer in answers]
        return {**told, "points": _sums([told["points"], *parts]), **told_missing(missing)}

    async def _points_here(self, wish: Arguments) -> dict[str, Any]:
        start, end = (parse_timestamp(wish[name]) for name in ("from", "to"))
        return await self._analytics.points(start, end)


def _furthest(told: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return of each client the entry that says most."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in (entry for one in told for entry in one["clients"]):
        known = entries.get(entry["clientId"])
        if known is None or _knowledge(entry) > _knowledge(known):
            entries[entry["clientId"]] = entry
    return entries


def _knowledge(entry: dict[str, Any]) -> tuple[int, bool]:
    return _STATES.index(entry["state"]), entry.get("reason") != UNKNOWN_CLIENT


def _id_of(entry: dict[str, Any]) -> str:
    client_id: str = entry["clientId"]
    return client_id


def _sums(parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one point for each minute; what the processes have counted is added up."""
    minutes: dict[str, dict[str, Any]] = {}
    for point in (point for part in parts for point in part):
        total = minutes.setdefault(point["at"], {**point, **_NOTHING})
        for name in _NOTHING:
            total[name] = _plus(total[name], point[name])
    return [minutes[at] for at in sorted(minutes)]


_NOTHING: dict[str, Any] = {
    "connections": 0,
    "events": {},
    "recipients": 0,
    "bytes": 0,
    "refusals": {},
}


def _plus(one: Any, other: Any) -> Any:
    return dict(Counter(one) + Counter(other)) if isinstance(one, dict) else one + other
