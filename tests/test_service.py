"""Everything the server does, without its wires."""

import asyncio
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from gtower_realtime import strict_json
from gtower_realtime.connections import Arrival
from gtower_realtime.errors import (
    Draining,
    Forbidden,
    RealtimeError,
    ReservedEvent,
    StoreUnavailable,
    TooManyRooms,
    UnknownClient,
    ValidationFailed,
)
from gtower_realtime.ports import Target
from gtower_realtime.records import Bounds
from tests.fakes import NOW, NOW_MS, TS, FakeCaller, FakeWorld, a_client, make_world

pytestmark = pytest.mark.gen_test

NOTIFICATION = {"type": "info", "title": "t", "message": "m"}
CHAT = {"id": "m1", "senderId": "u1", "senderName": "Ann", "content": "hi"}


@pytest.fixture
def world(io_loop: IOLoop) -> FakeWorld:
    """A service with three clients, of whom c2 and c3 are in the room sales."""

    async def make() -> FakeWorld:
        world = await make_world()
        await world.connect("c1", "c2", "c3")
        for client_id in ("c2", "c3"):
            await world.service.join_room(client_id, "sales")
        world.transport.forget()
        return world

    made: FakeWorld = io_loop.run_sync(make)
    return made


# Connections


async def test_a_new_client_hears_connected_first_and_the_others_hear_that_it_joined() -> None:
    world = await make_world()
    await world.call("c1")
    await world.call("c2")
    assert world.received("c2") == [
        (
            "connected",
            {
                "message": "Successfully connected to WebSocket server",
                "clientId": "c2",
                "timestamp": TS,
                "recovered": False,
            },
        )
    ]
    assert world.transport.events_of("c1") == ["connected", "clientJoined"]
    assert world.received("c1")[1] == ("clientJoined", {"clientId": "c2", "timestamp": TS})


async def test_the_others_hear_once_that_a_client_has_left(world: FakeWorld) -> None:
    world.cut("c1")
    world.service.client_disconnected("c1", may_return=True)
    world.service.client_disconnected("c1", may_return=False)
    world.service.client_disconnected("never there", may_return=True)
    for client_id in ("c2", "c3"):
        assert world.received(client_id) == [("clientLeft", {"clientId": "c1", "timestamp": TS})]
    assert world.service.status()["connectedClients"] == 2


async def test_nobody_hears_of_others_when_clients_are_not_announced() -> None:
    world = await make_world(announces_clients=False)
    await world.call("c1")
    await world.call("c2")
    world.cut("c2")
    assert world.transport.events_of("c1") == ["connected"]


async def test_coming_and_going_may_be_dropped_and_what_is_stored_may_not(
    world: FakeWorld,
) -> None:
    await world.connect("c4")
    world.cut("c4")
    await world.service.relay_message("c1", "hi")
    await world.service.broadcast_event("dealWon", {})
    assert world.transport.droppable == {"clientJoined", "clientLeft"}


# message


async def test_a_message_goes_unchanged_to_all_others_and_back_to_its_sender_as_a_receipt(
    world: FakeWorld,
) -> None:
    message = {"type": "t", "n": [1, None]}
    receipt = (await world.service.relay_message("c1", message)).as_dict()
    broadcast = {"from": "c1", "message": message, "timestamp": TS}
    assert world.received("c2") == [("messageBroadcast", broadcast)]
    assert world.received("c3") == [("messageBroadcast", broadcast)]
    assert world.received("c1") == [
        ("messageReceived", {"originalMessage": message, "receivedAt": TS})
    ]
    assert (receipt["recipients"], receipt["pending"]) == (2, 0)
    assert sorted(receipt) == ["id", "offset", "pending", "recipients"]


# roomMessage


async def test_a_room_message_reaches_the_members_its_sender_among_them(world: FakeWorld) -> None:
    receipt = (await world.service.relay_room_message("c2", "sales", "hi")).as_dict()
    payload = {"from": "c2", "room": "sales", "message": "hi", "timestamp": TS}
    assert world.received("c2") == [("roomMessage", payload)]
    assert world.received("c3") == [("roomMessage", payload)]
    assert world.received("c1") == []
    assert receipt["recipients"] == 2


async def test_who_is_not_a_member_may_send_to_a_room_and_hears_nothing_of_it(
    world: FakeWorld,
) -> None:
    receipt = (await world.service.relay_room_message("c1", "sales", "hi")).as_dict()
    assert world.received("c1") == []
    assert receipt["recipients"] == 2


# Rooms


async def test_who_joins_a_room_is_told_and_gets_what_is_sent_there(world: FakeWorld) -> None:
    answer = await world.service.join_room("c1", "sales")
    assert answer == {"room": "sales"}
    assert world.received("c1") == [("roomJoined", {"room": "sales", "timestamp": TS})]
    await world.service.relay_room_message("c2", "sales", "hi")
    assert world.transport.events_of("c1") == ["roomJoined", "roomMessage"]


async def test_joining_twice_is_joining_once_and_told_twice(world: FakeWorld) -> None:
    await world.service.join_room("c1", "sales")
    await world.service.join_room("c1", "sales")
    assert world.transport.rooms_of("c1") == ["sales"]
    assert world.transport.events_of("c1") == ["roomJoined", "roomJoined"]
    receipt = (await world.service.relay_room_message("c1", "sales", "hi")).as_dict()
    assert receipt["recipients"] == 3


async def test_who_leaves_a_room_is_told_even_if_it_was_not_in_it(world: FakeWorld) -> None:
    assert await world.service.leave_room("c2", "sales") == {"room": "sales"}
    assert await world.service.leave_room("c2", "sales") == {"room": "sales"}
    told = ("roomLeft", {"room": "sales", "timestamp": TS})
    assert world.received("c2") == [told, told]
    receipt = (await world.service.relay_room_message("c1", "sales", "hi")).as_dict()
    assert receipt["recipients"] == 1


async def test_the_rooms_of_whatsapp_have_events_of_their_own(world: FakeWorld) -> None:
    service = world.service
    assert await service.join_whatsapp_general("c1") == {"room": "whatsapp:general"}
    customer_room = {"room": "whatsapp:customer:c42"}
    assert await service.join_whatsapp_customer("c1", "c42") == customer_room
    assert world.transport.rooms_of("c1") == ["whatsapp:general", "whatsapp:customer:c42"]
    assert await service.leave_whatsapp_customer("c1", "c42") == customer_room
    assert world.transport.rooms_of("c1") == ["whatsapp:general"]
    customer = {**customer_room, "customerId": "c42", "timestamp": TS}
    assert world.received("c1") == [
        ("whatsappGeneralJoined", {"room": "whatsapp:general", "timestamp": TS}),
        ("whatsappCustomerJoined", customer),
        ("whatsappCustomerLeft", customer),
    ]


@pytest.mark.parametrize("room", ["user:u1", "user:", "c1", "c2"])
@pytest.mark.parametrize("method", ["join_room", "leave_room", "relay_room_message"])
async def test_a_room_of_the_server_is_forbidden_to_clients(
    world: FakeWorld, method: str, room: str
) -> None:
    arguments = ["hi"] if method == "relay_room_message" else []
    with pytest.raises(Forbidden) as caught:
        await getattr(world.service, method)("c1", room, *arguments)
    assert caught.value.code == "forbidden"
    assert caught.value.message == f"The room {room!r} belongs to the server; choose another name."
    assert world.transport.rooms_of("c1") == []
    assert [world.received(client_id) for client_id in ("c1", "c2", "c3")] == [[], [], []]


@pytest.mark.parametrize(
    "join",
    [
        ("join_room", "c"),
        ("join_whatsapp_general",),
        ("join_whatsapp_customer", "c42"),
    ],
)
async def test_one_room_too_many_is_refused_until_another_is_left(join: tuple[str, ...]) -> None:
    world = await make_world(max_rooms_per_client=2)
    await world.connect("c1")
    method, *arguments = join
    await world.service.join_room("c1", "a")
    await world.service.join_room("c1", "b")
    with pytest.raises(TooManyRooms) as caught:
        await getattr(world.service, method)("c1", *arguments)
    assert caught.value.code == "too_many_rooms"
    assert world.transport.rooms_of("c1") == ["a", "b"]
    assert world.transport.events_of("c1") == ["roomJoined", "roomJoined"]
    await world.service.join_room("c1", "a")
    await world.service.leave_room("c1", "a")
    await getattr(world.service, method)("c1", *arguments)
    assert len(world.transport.rooms_of("c1")) == 2


async def test_the_room_of_its_user_does_not_count_against_a_client() -> None:
    world = await make_world(max_rooms_per_client=1)
    await world.connect("c1", user_id="u1")
    await world.service.join_room("c1", "a")
    assert world.transport.rooms_of("c1") == ["user:u1", "a"]


async def test_a_maximum_of_zero_rooms_is_no_limit() -> None:
    world = await make_world(max_rooms_per_client=0)
    await world.connect("c1")
    for number in range(200):
        await world.service.join_room("c1", f"r{number}")
    assert len(world.transport.rooms_of("c1")) == 200


# Sending


@pytest.mark.parametrize(
    ("method", "arguments", "event", "payload", "heard_by"),
    [
        ("notify_client", ["c1", NOTIFICATION], "notification", NOTIFICATION, ["c1"]),
        ("notify_room", ["sales", NOTIFICATION], "notification", NOTIFICATION, ["c2", "c3"]),
        ("notify_user", ["u1", NOTIFICATION], "notification", NOTIFICATION, ["d1", "d2"]),
        (
            "broadcast_notification",
            [NOTIFICATION],
            "notification",
            NOTIFICATION,
            ["c1", "c2", "c3", "d1", "d2"],
        ),
        ("send_chat_to_client", ["c1", CHAT], "chatMessage", CHAT, ["c1"]),
        ("send_chat_to_room", ["sales", CHAT], "chatMessage", CHAT, ["c2", "c3"]),
        ("send_chat_to_user", ["u1", CHAT], "chatMessage", CHAT, ["d1", "d2"]),
        (
            "send_whatsapp_status",
            ["c1", {"status": "ready"}],
            "whatsappStatusUpdate",
            {"status": "ready"},
            ["c1"],
        ),
        (
            "send_whatsapp_message_update",
            ["c1", {"n": 1}],
            "whatsappMessageUpdate",
            {"n": 1},
            ["c1"],
        ),
        ("send_conversation_update", ["c1", {"n": 1}], "conversationUpdate", {"n": 1}, ["c1"]),
        ("send_event_to_client", ["c1", "dealWon", {"n": 1}], "dealWon", {"n": 1}, ["c1"]),
        ("send_event_to_room", ["sales", "dealWon", {}], "dealWon", {}, ["c2", "c3"]),
        (
            "send_event_to_rooms",
            [("sales", "support"), "dealWon", {}],
            "dealWon",
            {},
            ["c1", "c2", "c3"],
        ),
        ("send_event_to_user", ["u1", "dealWon", {}], "dealWon", {}, ["d1", "d2"]),
        ("broadcast_event", ["dealWon", {}], "dealWon", {}, ["c1", "c2", "c3", "d1", "d2"]),
    ],
)
async def test_what_is_sent_reaches_whom_it_is_for_once_and_is_counted(
    world: FakeWorld,
    method: str,
    arguments: list[Any],
    event: str,
    payload: dict[str, Any],
    heard_by: list[str],
) -> None:
    await world.connect("d1", "d2", user_id="u1")
    for client_id in ("c1", "c2"):
        world.transport.enter_room(client_id, "support")
    world.transport.forget()
    receipt = await getattr(world.service, method)(*arguments)
    heard = {name: kept.received for name, kept in world.transport.connections.items()}
    assert {name for name, received in heard.items() if received} == set(heard_by)
    for client_id in heard_by:
        assert heard[client_id] == [(event, payload | {"timestamp": TS})]
    assert (receipt.recipients, receipt.pending) == (len(heard_by), 0)
    assert receipt.offset is not None


async def test_nobody_there_is_a_success_with_no_recipients(world: FakeWorld) -> None:
    assert (await world.service.notify_room("empty", NOTIFICATION)).recipients == 0
    assert (await world.service.notify_user("nobody", NOTIFICATION)).recipients == 0


async def test_a_receipt_names_the_event_and_its_place_in_the_log(world: FakeWorld) -> None:
    receipts = [await world.service.broadcast_event("dealWon", {}) for _ in range(3)]
    shapes = [receipt.as_dict() for receipt in receipts]
    assert len({shape["id"] for shape in shapes}) == 3
    assert [receipt.offset and receipt.offset.number for receipt in receipts] == [1, 2, 3]
    assert shapes[0] == {
        "id": receipts[0].id,
        "recipients": 3,
        "pending": 0,
        "offset": str(receipts[0].offset),
    }


async def test_an_unknown_client_is_refused_and_nothing_is_stored() -> None:
    world = await make_world()
    with pytest.raises(UnknownClient) as caught:
        await world.service.notify_client("nobody", NOTIFICATION)
    assert (caught.value.code, caught.value.http_status) == ("unknown_client", 404)
    assert caught.value.message == "Client nobody is not connected."
    assert world.store.events == []


@pytest.mark.parametrize(
    ("event", "body", "refusal"),
    [
        ("connect", {}, ReservedEvent),
        ("clientJoined", {}, ReservedEvent),
        ("messageBroadcast", {}, ReservedEvent),
        ("", {}, ValidationFailed),
        ("notification", {}, ValidationFailed),
        ("whatsappStatusUpdate", {"status": 5}, ValidationFailed),
    ],
)
async def test_what_may_not_be_sent_is_refused_and_nobody_sees_it(
    event: str, body: dict[str, Any], refusal: type[RealtimeError]
) -> None:
    world = await make_world()
    await world.connect("c1")
    with pytest.raises(refusal):
        await world.service.broadcast_event(event, body)
    assert world.store.events == []
    assert world.received("c1") == []


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), [float("-inf")], deep(32), b"bytes", {1, 2}, {1: 2}, 2**70, NOW],
)
async def test_a_body_of_python_code_that_json_cannot_say_is_refused(
    world: FakeWorld, value: Any
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await world.service.broadcast_event("dealWon", {"value": value})
    assert caught.value.code == "validation_error"
    assert caught.value.message.startswith("The body cannot be sent as JSON: ")
    assert caught.value.fields == {"_schema": [caught.value.message]}
    assert world.received("c1") == []


# Recorded first, then delivered


async def test_what_cannot_be_recorded_is_seen_by_nobody() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.service.join_room("c1", "sales")
    world.transport.forget()
    world.store.problem = StoreUnavailable("The disk is full.")
    attempts = [
        world.service.broadcast_event("dealWon", {}),
        world.service.relay_message("c1", "hi"),
        world.service.relay_room_message("c1", "sales", "hi"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreUnavailable):
            await attempt
    assert (world.received("c1"), world.received("c2")) == ([], [])
    assert world.count("gtower_deliveries_total") == 0


async def test_nobody_sees_an_event_before_it_is_recorded() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.store.hold()
    sending = asyncio.ensure_future(world.service.relay_message("c1", "hi"))
    await world.store.asked.wait()
    assert (world.received("c1"), world.received("c2")) == ([], [])
    world.store.let()
    await sending
    assert world.transport.events_of("c2") == ["messageBroadcast"]
    assert world.transport.events_of("c1") == ["messageReceived"]


async def test_a_sender_that_is_gone_meanwhile_takes_nothing_from_the_others() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.store.hold()
    sending = asyncio.ensure_future(world.service.relay_message("c1", "hi"))
    await world.store.asked.wait()
    world.cut("c1")
    world.store.let()
    receipt = await sending
    assert receipt.recipients == 1
    assert world.transport.events_of("c2") == ["clientLeft", "messageBroadcast"]


@pytest.mark.parametrize(
    ("event", "target", "addresses", "excluded"),
    [
        ("dealWon", Target.all(), ("",), ()),
        ("dealWon", Target.all(excluded=frozenset({"c9"})), ("",), ("c9",)),
        ("notification", Target.room("sales"), ("sales",), ()),
        ("chatMessage", Target.client("c1"), ("c1",), ()),
        ("chatMessage", Target.user("u1"), ("user:u1",), ()),
        (
            "dealWon",
            Target(rooms=("sales", "a"), users=("u1",), clients=("c1",)),
            ("sales", "a", "user:u1", "c1"),
            (),
        ),
    ],
)
async def test_what_is_recorded_is_what_is_delivered(
    event: str, target: Target, addresses: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    world = await make_world()
    await world.connect("c1", user_id="u1")
    await world.service.join_room("c1", "sales")
    world.transport.forget()
    bodies: dict[str, dict[str, Any]] = {
        "dealWon": {},
        "notification": NOTIFICATION,
        "chatMessage": CHAT,
    }
    receipt = await world.service.send(event, bodies[event], target)
    [stored] = world.store.events
    assert (stored.number, stored.id, stored.event) == (1, receipt.id, event)
    assert (stored.addresses, stored.excluded) == (addresses, excluded)
    assert (stored.published_at, stored.expires_at) == (NOW_MS, None)
    payload = bodies[event] | {"timestamp": TS}
    assert strict_json.loads(stored.payload) == payload
    assert world.received("c1") == [(event, payload)]
    assert world.transport.connections["c1"].offsets == [world.offset(1)]


async def test_messages_between_clients_are_recorded_with_whom_they_are_for() -> None:
    world = await make_world()
    await world.connect("c1")
    await world.service.relay_message("c1", "hi")
    await world.service.relay_room_message("c1", "sales", "hi")
    recorded = [(stored.addresses, stored.excluded) for stored in world.store.events]
    assert recorded == [(("",), ("c1",)), (("sales",), ())]


async def test_what_only_one_client_is_told_is_no_event_of_the_log() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    await world.service.join_room("c1", "sales")
    await world.service.leave_room("c1", "sales")
    world.cut("c1")
    await world.journal.settled()
    assert world.store.events == []


# Asking


async def test_the_status_says_how_many_are_connected(world: FakeWorld) -> None:
    assert world.service.status() == {
        "connectedClients": 3,
        "status": "active",
        "timestamp": TS,
    }


async def test_the_status_says_when_nothing_can_be_recorded(world: FakeWorld) -> None:
    world.store.problem = StoreUnavailable("The disk is full.")
    with pytest.raises(StoreUnavailable):
        await world.service.broadcast_event("dealWon", {})
    assert world.service.status()["status"] == "degraded"
    assert world.service.failing_parts() == ["store"]
    attempts = world.store.attempts
    with pytest.raises(StoreUnavailable) as caught:
        await world.service.broadcast_event("dealWon", {})
    assert (caught.value.code, caught.value.http_status) == ("store_unavailable", 503)
    assert caught.value.headers == {"Retry-After": "1"}
    assert world.store.attempts == attempts


async def test_the_clients_are_described_in_the_order_of_connecting() -> None:
    world = await make_world()
    await world.connect("c2")
    client = a_client("c1", user_agent="curl/8", user_id="u1")
    caller = FakeCaller(world.transport)
    await world.service.connect(client, Arrival("/", caller.welcome))
    await world.service.join_room("c2", "sales")
    assert world.service.directory.clients() == [
        {
            "id": "c2",
            "connectedAt": TS,
            "metadata": {"ip": "192.0.2.1"},
            "rooms": ["sales"],
            "transport": "websocket",
        },
        {
            "id": "c1",
            "connectedAt": TS,
            "metadata": {"ip": "192.0.2.1", "userAgent": "curl/8"},
            "rooms": ["user:u1"],
            "transport": "websocket",
            "userId": "u1",
        },
    ]


async def test_the_clients_come_in_pages(world: FakeWorld) -> None:
    assert [client["id"] for client in world.service.directory.clients(limit=2)] == ["c1", "c2"]
    assert [client["id"] for client in world.service.directory.clients(after="c2", limit=2)] == [
        "c3"
    ]
    assert world.service.directory.clients(after="c3") == []


async def test_a_page_after_an_unknown_client_is_refused(world: FakeWorld) -> None:
    with pytest.raises(ValidationFailed) as caught:
        world.service.directory.clients(after="never there")
    assert caught.value.fields == {"after": ["There is no such client."]}


@pytest.mark.parametrize(("client_id", "connected"), [("c1", True), ("nobody", False)])
async def test_the_status_of_a_client_says_whether_it_is_connected(
    world: FakeWorld, client_id: str, connected: bool
) -> None:
    assert world.service.directory.client_status(client_id) == {
        "clientId": client_id,
        "connected": connected,
        "timestamp": TS,
    }


async def test_the_history_of_a_room_comes_in_pages_oldest_first(world: FakeWorld) -> None:
    for number in range(1, 4):
        await world.service.send_event_to_room("sales", "dealWon", {"n": number})
        await world.service.send_event_to_room("other", "dealWon", {"n": -number})
    first = await world.service.history("sales", limit=2)
    assert first == {
        "room": "sales",
        "events": [
            {
                "offset": str(world.offset(number)),
                "id": world.store.events[number - 1].id,
                "event": "dealWon",
                "data": {"n": n, "timestamp": TS},
                "timestamp": TS,
            }
            for number, n in ((1, 1), (3, 2))
        ],
        "more": True,
    }
    second = await world.service.history("sales", after=first["events"][-1]["offset"], limit=2)
    assert ([event["data"]["n"] for event in second["events"]], second["more"]) == ([3], False)


async def test_a_page_of_long_events_is_short_and_says_whether_there_is_more(
    world: FakeWorld,
) -> None:
    for n in range(4):
        body = {"n": n, "x": "y" * 600_000}
        await world.service.send_event_to_room("sales", "dealWon", body)
    first = await world.service.history("sales")
    assert ([event["data"]["n"] for event in first["events"]], first["more"]) == ([0, 1], True)
    second = await world.service.history("sales", after=first["events"][-1]["offset"])
    assert ([event["data"]["n"] for event in second["events"]], second["more"]) == ([2, 3], False)


async def test_a_page_of_history_says_when_something_after_its_begin_is_gone(
    world: FakeWorld,
) -> None:
    for _ in range(3):
        await world.service.send_event_to_room("sales", "dealWon", {})
    await world.journal.trim(Bounds(max_events=1, max_bytes=0, max_age_seconds=0), NOW_MS)
    page = await world.service.history("sales", after=str(world.offset(1)))
    assert (len(page["events"]), page["complete"]) == (1, False)
    page = await world.service.history("sales", after=str(world.offset(2)))
    assert (len(page["events"]), "complete" in page) == (1, False)


@pytest.mark.parametrize("after", ["", "nonsense", "another-1"])
async def test_history_after_what_is_no_offset_of_this_log_is_refused(
    world: FakeWorld, after: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await world.service.history("sales", after=after)
    assert caught.value.fields == {"after": ["Is not an offset of this log."]}


async def test_the_history_of_the_servers_rooms_is_forbidden_to_clients(world: FakeWorld) -> None:
    for room in ("user:u1", "c2"):
        with pytest.raises(Forbidden):
            await world.service.read_room_history("c1", room)
    assert (await world.service.read_room_history("c1", "sales"))["events"] == []


async def test_a_deleted_history_is_gone(world: FakeWorld) -> None:
    await world.service.send_event_to_room("sales", "dealWon", {})
    assert await world.service.delete_history("sales") == {"room": "sales", "deleted": 1}
    assert (await world.service.history("sales"))["events"] == []


async def test_the_position_of_a_room_is_where_the_log_is(world: FakeWorld) -> None:
    assert world.service.position("sales") == {"room": "sales", "offset": str(world.offset(0))}
    await world.service.broadcast_event("dealWon", {})
    assert world.service.position("sales") == {"room": "sales", "offset": str(world.offset(1))}


# Life


async def test_a_service_takes_up_work_until_it_drains(world: FakeWorld) -> None:
    assert world.service.refusal_of_new_work() is None
    assert world.service.failing_parts() == []
    world.service.drain(10)
    refusal = world.service.refusal_of_new_work()
    assert isinstance(refusal, Draining)
    assert world.service.failing_parts() == ["draining"]
    assert world.service.status()["status"] == "draining"


async def test_a_draining_service_refuses_what_is_sent_and_stores_nothing() -> None:
    world = await make_world()
    await world.connect("c1")
    world.service.drain(10)
    with pytest.raises(Draining) as caught:
        await world.service.broadcast_event("dealWon", {})
    assert (caught.value.code, caught.value.http_status) == ("draining", 503)
    assert caught.value.headers == {"Retry-After": "1", "Connection": "close"}
    assert world.store.events == []
    assert world.transport.events_of("c1") == ["serverShutdown"]


async def test_clients_are_told_when_to_come_back_and_let_go_then() -> None:
    world = await make_world()
    await world.connect("c1", "c2", "c3", "c4")
    world.service.drain(2)
    told = [world.received(client_id) for client_id in ("c1", "c2", "c3", "c4")]
    assert told == [
        [("serverShutdown", {"reconnectInMs": wait, "timestamp": TS})]
        for wait in (0, 500, 1000, 1500)
    ]
    steps = []
    for _ in range(4):
        steps.append((world.service.let_go(), list(world.transport.closed)))
        for client_id in world.transport.closed:
            world.service.client_disconnected(client_id, may_return=True)
        world.clock.advance(0.5)
    assert steps == [
        (True, ["c1"]),
        (True, ["c1", "c2"]),
        (True, ["c1", "c2", "c3"]),
        (False, ["c1", "c2", "c3", "c4"]),
    ]
    assert set(world.transport.closed.values()) == {(1012, "server shutting down")}


async def test_a_drain_is_over_when_nobody_is_left() -> None:
    world = await make_world()
    await world.connect("c1", "c2", "c3")
    world.service.drain(60)
    assert world.service.let_go()
    for client_id in ("c1", "c2", "c3"):
        world.service.client_disconnected(client_id, may_return=True)
    assert not world.service.let_go()
    assert world.transport.closed == {"c1": (1012, "server shutting down")}


async def test_what_clients_say_is_recorded_while_the_server_drains() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.service.drain(60)
    receipt = await world.service.relay_message("c1", "last words")
    assert receipt.recipients == 1
    assert [event.event for event in world.store.events] == ["messageBroadcast"]


async def test_nobody_is_told_of_the_others_that_a_draining_server_lets_go() -> None:
    world = await make_world()
    await world.connect("c1", "c2")
    world.service.drain(10)
    world.service.client_disconnected("c1", may_return=True)
    assert world.transport.events_of("c2") == ["serverShutdown"]


# Counting


async def test_what_is_published_and_delivered_is_counted_by_names_of_the_table_only(
    world: FakeWorld,
) -> None:
    await world.service.relay_message("c1", "hi")
    await world.service.notify_room("sales", NOTIFICATION)
    await world.service.broadcast_event("dealWon", {})
    await world.service.broadcast_event("dealLost", {})
    published = {
        event: world.count("gtower_events_published_total", {"event": event})
        for event in ("messageBroadcast", "notification", "custom", "dealWon")
    }
    assert published == {
        "messageBroadcast": 1,
        "notification": 1,
        "custom": 2,
        "dealWon": None,
    }
    assert world.count("gtower_deliveries_total") == 2 + 2 + 3 + 3


async def test_the_number_of_clients_is_a_metric(world: FakeWorld) -> None:
    assert world.count("gtower_clients") == 3
    world.cut("c1")
    assert world.count("gtower_clients") == 2
