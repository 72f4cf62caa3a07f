"""What the calls of the Python client ask for, and what they refuse to ask; no server."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gtower_realtime.client import (
    AsyncRealtimeClient,
    BatchReceipt,
    Forbidden,
    InvalidRequest,
    Publication,
    RealtimeClient,
    ServerUnavailable,
    TracedClient,
    calls,
)
from gtower_realtime.client.answers import batch_receipt, event_trace
from handlers import api

KEY = "k" * 30


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("ñ", "%C3%B1"),
        ("?#", "%3F%23"),
        ("..", "%2E%2E"),
        (".", "%2E"),
    ],
)
def test_a_name_is_one_segment_of_the_path(name: str, segment: str) -> None:
    assert calls.room(name).path == f"/websocket/rooms/{segment}"


def test_an_empty_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="empty"):
        calls.broadcast_event("")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_refused_before_anything_is_sent(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are Python's
        calls.broadcast_event("tick", {"value": value})


def test_each_sending_call_has_a_key_of_its_own() -> None:
    first, second = calls.broadcast_event("tick"), calls.broadcast_event("tick")
    assert first.idempotency_key
    assert first.idempotency_key != second.idempotency_key


def test_the_callers_key_is_taken() -> None:
    assert calls.broadcast_event("tick", idempotency_key="order-1").idempotency_key == "order-1"
    with pytest.raises(ValueError, match="printable ASCII"):
        calls.broadcast_event("tick", idempotency_key="a\r\nb")


def test_an_id_of_the_callers_takes_the_place_of_the_key() -> None:
    call = calls.publish("tick", rooms=["sales"], id="order-1")
    assert call.idempotency_key is None
    assert json.loads(call.content or b"")["id"] == "order-1"
    assert calls.publish("tick", rooms=["sales"]).idempotency_key is not None


def test_a_publication_says_what_is_not_as_usual() -> None:
    publication = Publication(
        event="tick",
        data={"n": 1},
        rooms=["sales"],
        users=["u1"],
        clients=["c1"],
        everyone=True,
        excluding=["c2"],
        volatile=True,
        ttl=0,
        id="e1",
    )
    assert publication.as_body() == {
        "event": "tick",
        "data": {"n": 1},
        "rooms": ["sales"],
        "users": ["u1"],
        "clients": ["c1"],
        "all": True,
        "except": ["c2"],
        "volatile": True,
        "ttl": 0,
        "id": "e1",
    }
    assert Publication(event="tick").as_body() == {"event": "tick", "data": {}}


def test_one_string_is_no_list_of_rooms() -> None:
    with pytest.raises(TypeError, match=r"write \['sales'\]"):
        calls.publish("tick", rooms="sales")


def test_waiting_for_acknowledgements_is_added_to_the_time() -> None:
    call = calls.notify_room(
        "sales", {"type": "info", "title": "t", "message": "m"}, ack_seconds=1.5
    )
    assert call.query == {"wait": "ack", "timeout": "1500"}
    assert call.seconds == 1.5


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        calls.analytics(start=datetime(2026, 11, 26))  # noqa: DTZ001
    start = datetime(2026, 11, 26, tzinfo=UTC)
    assert calls.analytics(start=start).query == {"from": "2026-11-26T00:00:00+00:00"}


def test_the_refusals_of_a_batch_are_of_their_kinds() -> None:
    def refused(code: str) -> dict[str, object]:
        error = {"code": code, "message": "No.", "retryable": False}
        return {"success": False, "message": "No.", "error": error}

    codes = ("validation_error", "forbidden", "store_unavailable")
    batch = batch_receipt({"success": False, "results": list(map(refused, codes))})
    kinds = [type(result) for result in batch.refusals.values()]
    assert kinds == [InvalidRequest, Forbidden, ServerUnavailable]
    assert batch_receipt({"success": True, "results": []}) == BatchReceipt(True, ())


def test_the_trace_of_an_event_is_read() -> None:
    trace = event_trace(
        {
            "id": "e1",
            "event": "tick",
            "offset": "a-1",
            "target": {"rooms": ["sales"]},
            "timestamp": "2026-11-23T12:28:18.953Z",
            "recipients": 2,
            "pending": 0,
            "clients": [
                {"clientId": "c1", "state": "acknowledged"},
                {"clientId": "c2", "state": "dropped", "reason": "dropped as slow"},
            ],
            "more": False,
        }
    )
    assert (trace.recipients, trace.pending, trace.more) == (2, 0, False)
    assert trace.timestamp == datetime(2026, 11, 23, 12, 28, 18, 953000, tzinfo=UTC)
    assert trace.clients == (
        TracedClient("c1", "acknowledged", None),
        TracedClient("c2", "dropped", "dropped as slow"),
    )


# The two clients


@pytest.mark.parametrize("client", [RealtimeClient, AsyncRealtimeClient])
def test_a_client_has_a_method_for_each_call_with_its_parameters_and_words(
    client: type[RealtimeClient | AsyncRealtimeClient],
) -> None:
    described = described_calls()
    assert len(described) == 37
    for name, function in described.items():
        method = getattr(client, name)
        _, *parameters = inspect.signature(method).parameters.values()
        assert parameters == list(inspect.signature(function).parameters.values())
        assert method.__doc__ == function.__doc__


def test_there_is_a_call_for_each_endpoint() -> None:
    asked = [call_of(function) for function in described_calls().values()]
    missing = [
        f"{method.upper()} {route.path}"
        for route in api.routes()
        for method in route.methods()
        if route.path.startswith("/websocket/")
        and not any(
            call.method == method.upper()
            and re.fullmatch(re.sub(r":[A-Za-z]+", "[^/]+", route.path), call.path)
            for call in asked
        )
    ]
    assert missing == []


def described_calls() -> dict[str, Callable[..., Any]]:
    """Return the functions that describe calls."""
    return {
        name: function
        for name, function in vars(calls).items()
        if inspect.isfunction(function)
        and function.__module__ == calls.__name__
        and not name.startswith("_")
        and name != "new_key"
    }


def call_of(function: Callable[..., Any]) -> calls.Call[Any]:
    """Return a call, the first one of what goes through pages, with some arguments."""
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]
    made = function(*("x" if each.annotation is str else {} for each in needed))
    return made.first if isinstance(made, calls.Pages) else made


@pytest.mark.parametrize("client", [RealtimeClient, AsyncRealtimeClient])
def test_a_client_shows_neither_key_nor_password(
    client: type[RealtimeClient | AsyncRealtimeClient],
) -> None:
    one = client("http://ana:secret@rt.example.com", api_key=KEY)
    assert repr(one) == f"{client.__name__}('http://rt.example.com')"
    shown = repr(vars(one))
    assert KEY not in shown
    assert "secret" not in shown


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://localhost", "http://", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url must be like http://localhost:3000"):
        RealtimeClient(url)


def test_a_key_with_a_line_end_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="line end") as raised:
        RealtimeClient(api_key=f"{KEY}\n")
    assert KEY not in str(raised.value)


def test_the_client_loads_nothing_of_the_server() -> None:
    script = """
import sys
import gtower_realtime.client
ours = [name for name in sys.modules if name.startswith(("gtower_realtime", "handlers"))]
assert all(name.startswith("gtower_realtime.client") for name in ours if "." in name), ours
print(*{"tornado", "socketio", "marshmallow", "sqlalchemy", "orjson"} & sys.modules.keys())
"""
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True)
    assert loaded.stdout == "\n"


PROGRAM = """
from gtower_realtime.client import AsyncRealtimeClient, Publication, RealtimeClient

def blocking(realtime: RealtimeClient) -> None:
    reveal_type(realtime.notify_room("r", {"type": "info", "title": "t", "message": "m"}))
    reveal_type(realtime.publish_batch([Publication(event="e", rooms=["r"])]))
    reveal_type(realtime.iterate_clients())
    reveal_type(realtime.disconnect_user("u1", reconnect=True))
    realtime.notify_room("r", {"type": "loud", "title": "t", "message": "m"})
    realtime.notify_room("r", {"type": "info", "titel": "t", "message": "m"})
    realtime.send_event_to_room("r")
    realtime.room(42)

async def asynchronous(realtime: AsyncRealtimeClient) -> None:
    reveal_type(await realtime.room("r"))
    reveal_type(realtime.iterate_history("r"))
    realtime.position("r").upper()
"""


def test_type_checkers_tell_right_use_from_wrong(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    found = [
        (int(line), re.sub(r"gtower_realtime\.client\.answers\.|typing\.|builtins\.", "", what))
        for line, what in re.findall(r"^.*?:(\d+): (?:note|error): (.*)$", said, re.M)
    ]
    revealed = [what for _, what in found if what.startswith("Revealed")]
    assert revealed == [
        'Revealed type is "Receipt"',
        'Revealed type is "BatchReceipt"',
        'Revealed type is "Iterator[ConnectedClient]"',
        'Revealed type is "Disconnected"',
        'Revealed type is "RoomSummary"',
        'Revealed type is "AsyncIterator[LoggedEvent]"',
    ]
    wrong = {line for line, what in found if not what.startswith("Revealed")}
    assert wrong == {9, 10, 11, 12, 17}
