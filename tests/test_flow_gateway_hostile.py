"""Clients that mean harm, against the whole server over real sockets: the others go on."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.gateway.rooms import RoomIndex
from gtower_realtime.settings import Settings
from gtower_realtime.timestamps import SystemClock
from tests.socketio_wire import Wire, open_client, open_wire

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("http_server")]

PROTOCOL_ERROR = 1002


class SteppingClock(SystemClock):
    """A clock on which each look may be made to take some time."""

    def __init__(self) -> None:
        self.step_seconds = 0.0
        self._stepped_seconds = 0.0

    def monotonic(self) -> float:
        self._stepped_seconds += self.step_seconds
        return super().monotonic() + self._stepped_seconds


@pytest.fixture
def clock() -> SteppingClock:
    """Give the clock of the server."""
    return SteppingClock()


@pytest.fixture
def application(io_loop: IOLoop, environ: dict[str, str], clock: SteppingClock) -> Application:
    """The server of production, with ``clock``."""
    settings = Settings.load({"GTOWER_DATABASE_URL": "memory:", **environ})
    return Application(settings, clock)


async def clients_listed(base_url: str) -> list[str]:
    """Return the client ids that the HTTP API lists."""
    answer = await AsyncHTTPClient().fetch(f"{base_url}/websocket/clients")
    return [client["id"] for client in json.loads(answer.body)]


async def assert_unharmed(witness: Wire, base_url: str, *gone: str) -> None:
    """Check that ``witness`` is served as before, and that all it heard is who is ``gone``."""
    for client_id in gone:
        name, payload = await witness.next_event()
        assert (name, payload["clientId"]) == ("clientLeft", client_id)
    assert (await witness.ask("roomMessage", {"room": "mine", "message": "hi"}))[0]["ok"]
    assert await witness.events_until("roomMessage") == []
    assert await clients_listed(base_url) == [witness.id]


# Row 2 and 3: before a client is accepted, and after it is gone


async def test_a_connection_without_connect_gets_nothing_and_is_counted_nowhere(
    base_url: str, application: Application
) -> None:
    async with open_client(base_url) as witness, open_wire(base_url) as silent:
        receipt = await application.service.broadcast_event("news", {})
        assert receipt.recipients == 1
        assert await clients_listed(base_url) == [witness.id]
        await silent.say("40")
        assert str(await silent.hear()).startswith('40{"sid":"')
        assert (await silent.next_event())[0] == "connected"


@pytest.mark.parametrize("packet", ['42["message",1]', "431[]", "41", '451-["message",{}]'])
async def test_what_comes_before_connect_closes_the_connection(base_url: str, packet: str) -> None:
    async with open_client(base_url) as witness, open_wire(base_url) as wire:
        await wire.say(packet)
        assert (await wire.closing())[0] == PROTOCOL_ERROR
        await witness.ask("joinRoom", "mine")
        await witness.next_event()
        await assert_unharmed(witness, base_url)


async def test_a_second_connect_closes_the_connection(base_url: str) -> None:
    async with open_client(base_url) as wire:
        await wire.say("40")
        assert (await wire.closing())[0] == PROTOCOL_ERROR


# Row 4: forged events of the protocol


@pytest.mark.parametrize("event", ["disconnect", "connect", "connect_error", "disconnecting"])
async def test_forging_a_protocol_event_runs_no_handler_and_ends_the_client_truly(
    base_url: str, application: Application, event: str
) -> None:
    async with open_client(base_url) as witness, open_client(base_url) as wire:
        await witness.ask("joinRoom", "mine")
        await witness.events_until("roomJoined")
        await wire.emit(event, "client namespace disconnect")
        assert (await wire.closing())[0] == PROTOCOL_ERROR
        await assert_unharmed(witness, base_url, wire.id)
        assert (await application.service.broadcast_event("end", {})).recipients == 1


# Rows 5, 9, 10, 18: what would break those who receive or parse it


POISON = {
    "NaN": '42["message",NaN]',
    "infinity": '42["message",{"a":[Infinity]}]',
    "minus infinity": '42["roomMessage",{"room":"mine","message":-Infinity}]',
    "a number beyond a double": '42["message",1e999]',
    "a lone surrogate": '42["message","\\ud800"]',
    "a lone surrogate as a key": '42["message",{"\\udfff":1}]',
    "100,000 levels": '42["message",' + "[" * 100_000 + "]" * 100_000 + "]",
    "100,000 levels unclosed": '42["message",' + "[" * 100_000,
    "100,000 levels of objects": '42["message",' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "]",
    "no name": "42[]",
    "a name that is none": "42[5]",
    "an object": '42{"message":1}',
    "no JSON": "42[message]",
    "nothing": "42",
    "a packet type that is none": '47["message"]',
    "a packet of the server": '44{"message":"x"}',
    "an endless acknowledgement id": "42" + "9" * 5000 + '["message",1]',
    "a namespace that is endless": "42/" + "n" * 5000 + ',["message",1]',
    "ten billion attachments": '4510000000000-["message",{"_placeholder":true,"num":0}]',
    "eleven attachments": "4511-"
    + json.dumps(["message", *({"_placeholder": True, "num": n} for n in range(11))]),
    "no attachment": '450-["message"]',
    "an attachment that is not referenced": '451-["message","x"]',
    "one attachment referenced 2,000 times": "451-"
    + json.dumps(["message", *([{"_placeholder": True, "num": 0}] * 2000)]),
    "an attachment out of range": '451-["message",{"_placeholder":true,"num":1}]',
    "an attachment of a negative number": '451-["message",{"_placeholder":true,"num":-1}]',
    "an attachment of no number": '451-["message",{"_placeholder":true,"num":true}]',
    "a reserved name with an attachment": '451-["disconnect",{"_placeholder":true,"num":0}]',
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_poison_closes_its_own_connection_and_reaches_nobody(
    base_url: str, poison: str
) -> None:
    async with open_client(base_url) as witness, open_client(base_url) as wire:
        await witness.ask("joinRoom", "mine")
        await witness.events_until("roomJoined")
        await wire.say(poison)
        assert (await wire.closing())[0] == PROTOCOL_ERROR
        await assert_unharmed(witness, base_url, wire.id)


async def test_bytes_that_nobody_announced_close_the_connection(base_url: str) -> None:
    async with open_client(base_url) as wire:
        await wire.say(b"bytes")
        assert (await wire.closing())[0] == PROTOCOL_ERROR


async def test_text_in_the_place_of_an_attachment_closes_the_connection(base_url: str) -> None:
    async with open_client(base_url) as wire:
        await wire.say('451-["message",{"_placeholder":true,"num":0}]')
        await wire.say('42["message","instead"]')
        assert (await wire.closing())[0] == PROTOCOL_ERROR


@pytest.mark.parametrize("environ", [{"GTOWER_MAX_MESSAGE_BYTES": "100000"}])
async def test_attachments_together_are_bounded_by_the_limit_of_one_message(base_url: str) -> None:
    placeholders = [{"_placeholder": True, "num": number} for number in range(10)]
    async with open_client(base_url) as wire:
        await wire.say("4510-" + json.dumps(["message", *placeholders]))
        for _ in range(10):
            await wire.say(b"x" * 10_001)
        assert (await wire.closing())[0] == 1009


@pytest.mark.parametrize(
    "message",
    [
        {"__proto__": {"admin": True}, "constructor": {"prototype": {"admin": True}}},
        {"toString": 1, "hasOwnProperty": 1},
        {"_placeholder": True, "num": 0},
        "nul \u0000 and \u2028",
        5.9,
        12345678901234567890,
        1.7976931348623157e308,
        {"": ""},
    ],
    ids=repr,
)
async def test_what_is_strange_and_harmless_is_relayed_unchanged(
    base_url: str, message: Any
) -> None:
    async with open_client(base_url) as witness, open_client(base_url) as wire:
        assert (await wire.ask("message", message))[0]["ok"]
        await witness.events_until("clientJoined")
        name, payload = await witness.next_event()
        assert (name, payload["message"]) == ("messageBroadcast", message)


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("body", [b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', DEEP])
async def test_poison_from_http_is_refused(base_url: str, body: bytes) -> None:
    async with open_client(base_url) as witness:
        await witness.ask("joinRoom", "mine")
        await witness.next_event()
        answer = await AsyncHTTPClient().fetch(
            f"{base_url}/websocket/event/broadcast/news",
            method="POST",
            body=body,
            headers={"Content-Type": "application/json"},
            raise_error=False,
        )
        assert (answer.code, json.loads(answer.body)["error"]["code"]) == (400, "invalid_json")
        await assert_unharmed(witness, base_url)


@pytest.mark.parametrize(
    "path", ["/websocket/event/room/{}/e", "/{}", "/websocket/clients/{}/status", "/socket.io/?{}"]
)
async def test_a_url_of_100_kilobytes_is_refused(base_url: str, path: str) -> None:
    async with open_client(base_url) as witness:
        await witness.ask("joinRoom", "mine")
        await witness.next_event()
        with pytest.raises(HTTPClientError, match="HTTP 431"):
            await AsyncHTTPClient().fetch(base_url + path.format("%61" * 33_000))
        await assert_unharmed(witness, base_url)


# Row 6: rooms that are nobody's to use


@pytest.mark.parametrize("room", [None, "", {}, [], 0, False])
async def test_a_room_that_is_none_is_not_everybody(
    base_url: str, application: Application, room: Any
) -> None:
    async with open_client(base_url) as witness, open_client(base_url) as wire:
        for event, argument in (
            ("roomMessage", {"room": room, "message": "to all?"}),
            ("joinRoom", room),
            ("joinRoom", {"roomName": room}),
            ("leaveRoom", room),
            ("leaveRoom", {"roomName": room}),
        ):
            answer = await wire.ask(event, argument)
            assert answer[0]["error"]["code"] == "validation_error"
        assert (await application.service.broadcast_event("end", {})).recipients == 2
        assert await wire.events_until("end") == []
        assert [name for name, _ in await witness.events_until("end")] == ["clientJoined"]
        wire.close()
        assert (await witness.next_event())[0] == "clientLeft"


async def test_nobody_gets_into_the_room_of_an_id(base_url: str, application: Application) -> None:
    async with open_client(base_url) as victim, open_client(base_url) as wire:
        for event, argument in (
            ("joinRoom", victim.id),
            ("leaveRoom", victim.id),
            ("roomMessage", {"room": victim.id, "message": "forged"}),
            ("leaveRoom", wire.id),
        ):
            assert (await wire.ask(event, argument))[0]["error"]["code"] == "forbidden"
        for client in (victim, wire):
            receipt = await application.service.send_event_to_client(client.id, "private", {})
            assert receipt.recipients == 1
            assert (await client.events_until("private")) is not None


async def test_a_room_that_was_named_like_a_future_id_takes_nothing_from_its_owner(
    base_url: str, application: Application
) -> None:
    async with open_client(base_url) as early:
        await early.ask("joinRoom", "to come")
        application.socketio.eio.generate_id = lambda: "to come"  # type: ignore[method-assign]
        async with open_wire(base_url) as late:
            await late.join()
            assert late.id == "to come"
            receipt = await application.service.send_event_to_client("to come", "private", {})
            assert receipt.recipients == 1
            assert (await late.next_event())[0] == "private"
            await application.service.broadcast_event("end", {})
            names = [name for name, _ in await early.events_until("end")]
            assert names == ["roomJoined", "clientJoined"]


# Row 13: floods


@pytest.mark.parametrize("environ", [{"GTOWER_RATE_EVENTS": "0", "GTOWER_RATE_JOINS": "0"}])
async def test_a_flood_of_one_client_is_answered_in_order_and_lets_others_through(
    base_url: str,
) -> None:
    async with open_client(base_url) as wire, open_client(base_url) as other:
        tasks = len(asyncio.all_tasks())
        for number in range(1000):
            await wire.say(f'42{number}["leaveRoom","r{number}"]')
        assert (await other.ask("joinRoom", "mine"))[0]["ok"]
        assert len(asyncio.all_tasks()) <= tasks + 2
        for number in range(1000):
            assert await wire.acknowledgement(number) == [{"ok": True, "room": f"r{number}"}]


# Row 14: many leave at once


class CountingIndex(RoomIndex[Any]):
    """An index that counts the memberships it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[tuple[str, str]] = []

    def _drop(self, client_id: str, namespace: str, room: str) -> None:
        self.dropped.append((client_id, room))
        super()._drop(client_id, namespace, room)


def test_leaving_costs_the_clients_own_rooms_however_many_there_are() -> None:
    index = CountingIndex()
    for number in range(1000):
        index.add(f"c{number}", "/", None)
        for room in (f"own {number}", f"shared {number % 10}", "all"):
            index.enter(f"c{number}", room)
    index.remove("c7")
    assert index.dropped == [("c7", "own 7"), ("c7", "shared 7"), ("c7", "all")]


async def test_the_departure_of_many_is_told_in_slices_between_which_the_loop_turns(
    base_url: str, application: Application, clock: SteppingClock, io_loop: IOLoop
) -> None:
    turn = 0
    departures: Counter[int] = Counter()
    depart = application.service.client_disconnected

    def count_turns() -> None:
        nonlocal turn
        turn += 1
        if departures.total() < 40:
            io_loop.add_callback(count_turns)

    def note(client_id: str, *, may_return: bool) -> None:
        departures[turn] += 1
        depart(client_id, may_return=may_return)

    application.service.client_disconnected = note  # type: ignore[method-assign]
    async with AsyncExitStack() as stack:
        witness = await stack.enter_async_context(open_client(base_url))
        crowd = [await stack.enter_async_context(open_client(base_url)) for _ in range(40)]
        clock.step_seconds = 0.004
        io_loop.add_callback(count_turns)
        for client in crowd:
            application.transport.disconnect(client.id, 4200, "all of you")
        gone = [await witness.next_event() for _ in range(80)][40:]
        clock.step_seconds = 0.0
    assert {payload["clientId"] for _, payload in gone} == {client.id for client in crowd}
    assert departures.total() == 40
    assert max(departures.values()) <= 3


# Row 23: disconnected for good


async def test_a_client_that_is_dismissed_hears_why_then_a_disconnect_then_the_close(
    base_url: str, application: Application
) -> None:
    async with open_client(base_url) as witness, open_client(base_url) as wire:
        application.transport.disconnect(wire.id, 4003, "you were signed out")
        name, payload = await wire.next_event()
        assert (name, payload) == (
            "exception",
            {
                "status": "error",
                "event": "disconnect",
                "code": 4003,
                "message": "you were signed out",
                "timestamp": payload["timestamp"],
            },
        )
        assert await wire.hear() == "41"
        assert await wire.closing() == (4003, "you were signed out")
        assert [name for name, _ in [await witness.next_event(), await witness.next_event()]] == [
            "clientJoined",
            "clientLeft",
        ]
        assert await clients_listed(base_url) == [witness.id]


async def test_any_other_close_is_just_the_close(base_url: str, application: Application) -> None:
    async with open_client(base_url) as wire:
        application.transport.disconnect(wire.id, 4200, "come back")
        assert await wire.hear() is None
        assert await clients_listed(base_url) == []


async def test_what_was_sent_before_a_dismissal_arrives_before_it(
    base_url: str, application: Application
) -> None:
    async with open_client(base_url) as wire:
        for number in range(50):
            await application.service.send_event_to_client(wire.id, "news", {"number": number})
        application.transport.disconnect(wire.id, 4003, "bye")
        events = await wire.events_until("exception")
        assert [payload["number"] for _, payload in events] == list(range(50))


# Row 26: faults of ours


async def test_a_fault_of_ours_is_acknowledged_and_shows_nothing(
    base_url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(application.service, "join_room", fail)
    async with open_client(base_url) as wire:
        error = {
            "code": "internal_error",
            "message": "The server failed; try again later.",
            "retryable": True,
        }
        for _ in range(20):
            assert await wire.ask("joinRoom", "r") == [{"ok": False, "error": error}]
        await wire.emit("joinRoom", "r")
        name, payload = await wire.next_event()
        assert (name, payload["code"], payload["message"]) == (
            "exception",
            "internal_error",
            "The server failed; try again later.",
        )
        assert (await wire.ask("message", "hi"))[0]["ok"]


@pytest.mark.parametrize("environ", [{"GTOWER_HANDLER_TIMEOUT": "0.05"}])
async def test_an_event_that_hangs_is_answered_in_the_time_that_is_set(
    base_url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_arguments: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(application.service, "join_room", hang)
    async with open_client(base_url) as wire:
        assert (await wire.ask("joinRoom", "r"))[0]["error"]["code"] == "internal_error"
        assert (await wire.ask("message", "hi"))[0]["ok"]
