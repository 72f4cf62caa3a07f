"""Whatever clients do while events are published: each count of each receipt, and each trace."""

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.batches import BatchItem
from gtower_realtime.errors import RealtimeError
from gtower_realtime.ports import Target
from gtower_realtime.publishing import AS_USUAL, Delivery
from tests.fakes import FakeWorld, make_world
from tests.receipt_model import Model, ModelClient

ROOMS = ["desk:1", "desk:2", "sales"]
USERS = ["u1", "u2", "u3"]
STEPS = [
    *["connect", "join", "leave", "cut", "return", "stall", "pong"] * 2,
    *["send", "publish", "volatile"] * 4,
    *["batch", "ask", "ask", "goodbye", "expire"],
]


class Play:
    """Does the same to a service and to the model, and compares what both say."""

    def __init__(self, world: FakeWorld, chance: random.Random) -> None:
        self.world = world
        self.model = Model()
        self.chance = chance

    def one_of(self, clients: list[ModelClient]) -> ModelClient | None:
        return self.chance.choice(clients) if clients else None

    def some_of(self, names: list[str]) -> list[str]:
        return self.chance.sample(names, self.chance.randrange(len(names) + 1))

    async def do(self, step: str) -> None:
        await getattr(self, f"_{step}")()

    # What clients do

    async def _connect(self) -> None:
        if len(self.model.clients) < 8:
            number = len(self.model.clients)
            client = ModelClient(f"c{number}", self.chance.choice(USERS), number % 3 != 2)
            await self.world.connect(
                client.id, user_id=client.user_id, takes_offsets=client.can_return
            )
            self.model.connect(client)

    async def _join(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None:
            room = self.chance.choice(ROOMS)
            await self.world.service.join_room(client.id, room)
            client.rooms.add(room)

    async def _leave(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None and client.rooms:
            room = self.chance.choice(sorted(client.rooms))
            await self.world.service.leave_room(client.id, room)
            client.rooms.discard(room)

    async def _cut(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None:
            self._break(client)
            self.model.cut(client)

    def _break(self, client: ModelClient) -> None:
        """Let the connection of a client be gone, as the gateway tells it."""
        self.world.transport.stalled.pop(client.id, None)
        mark = self.world.transport.confirmed_mark(client.id)
        self.world.service.client_has_everything(client.id, mark)
        self.world.cut(client.id)

    async def _goodbye(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None:
            self.world.transport.stalled.pop(client.id, None)
            mark = self.world.transport.confirmed_mark(client.id)
            self.world.service.client_has_everything(client.id, mark)
            self.world.say_goodbye(client.id)
            self.model.end(client)

    async def _return(self) -> None:
        client = self.one_of(self.model.those("away"))
        if client is not None:
            claimed = self.chance.randint(client.claimed, client.seen)
            client.claimed = claimed
            await self.world.come_back(client.id, self.world.offset(claimed))
            received = [
                offset.number
                for offset in self.world.transport.connections[client.id].offsets[1:]
                if offset is not None
            ]
            sent = self.model.come_back(client, claimed)
            assert received == [self.model.events[one].number for one in sent]

    async def _stall(self) -> None:
        client = self.one_of(self.model.those("here"))
        if client is not None:
            client.is_stalled = True
            self.world.transport.stalled[client.id] = lambda droppable: self._full(
                client.id, droppable
            )

    def _full(self, client_id: str, droppable: bool) -> None:
        """Do what a connection does whose buffer is full when an event comes."""
        connection = self.world.transport.connections[client_id]
        if connection.closed_with is None:
            if droppable:
                self.world.service.client_missed(client_id)
                return
            connection.closed_with = (4102, "slow consumer")
            self.world.service.client_closing(client_id, 4102, may_return=True)

    async def _pong(self) -> None:
        client = self.one_of([one for one in self.model.those("here") if not one.is_stalled])
        if client is not None:
            self.world.transport.connections[client.id].mark = self.world.journal.last_number
            self.model.pong(client)

    async def _expire(self) -> None:
        self.world.clock.advance(121)
        self.world.service.end_expired_sessions()
        for client in self.model.those("away"):
            self.model.end(client)

    # What back-ends do

    async def _send(self) -> None:
        """Send what a trigger sends: to one room, user, client, or everybody."""
        targets = [Target.room(room) for room in ROOMS] + [Target.user(user) for user in USERS]
        targets += [Target.client(one.id) for one in self.model.those("here", "away")]
        await self._publish_to(self.chance.choice([*targets, Target.all()]))

    async def _publish(self) -> None:
        await self._publish_to(self._any_target())

    async def _volatile(self) -> None:
        await self._publish_to(self._any_target(), Delivery(is_volatile=True))

    def _any_target(self) -> Target:
        """Return a mix of targets, less the clients that are not there, as the API does."""
        clients = self.some_of([*self.model.clients, "nobody"])
        unknown = self.world.service.control.unknown_clients(clients)
        gone = {one.id for one in self.model.those("gone")} | {"nobody"}
        assert unknown == [one for one in clients if one in gone]
        return Target(
            rooms=tuple(self.some_of(ROOMS)),
            users=tuple(self.some_of(USERS)) if self.chance.random() < 0.3 else (),
            clients=tuple(one for one in clients if one not in gone),
            everyone=self.chance.random() < 0.1,
            excluded=frozenset(self.some_of(list(self.model.clients)))
            if self.chance.random() < 0.3
            else frozenset(),
        )

    async def _publish_to(self, target: Target, delivery: Delivery = AS_USUAL) -> None:
        if target.is_one_client and target.clients[0] in {
            one.id for one in self.model.those("gone")
        }:
            return
        receipt = await self.world.service.send("tick", {}, target, delivery)
        self._compare(receipt.as_dict(), target, is_stored=not delivery.is_volatile)
        self._depart()

    async def _batch(self) -> None:
        targets = [self._any_target() for _ in range(3)]
        items: list[BatchItem | RealtimeError] = [
            BatchItem("tick", {}, target, Delivery(is_volatile=False), dict) for target in targets
        ]
        for target, outcome in zip(
            targets, await self.world.service.send_batch(items), strict=True
        ):
            assert not isinstance(outcome, RealtimeError)
            self._compare(outcome[0], target, is_stored=True)
        self._depart()

    async def _ask(self) -> None:
        """Publish and wait: some acknowledge, some are cut, the others stay silent."""
        target = self._any_target()
        hung_up = asyncio.get_running_loop().create_future()
        delivery = Delivery(ack_seconds=60, caller_gone=hung_up)
        waiting = asyncio.ensure_future(self.world.service.send("tick", {}, target, delivery))
        await asyncio.sleep(0)
        await self.world.journal.settled()
        _, asked, acknowledged = self.world.transport.asked.pop()
        handed, _ = self._publish_in_model(target, is_stored=True)
        assert sorted(asked) == handed
        seeing = self.some_of(asked)
        cut = self.some_of([one for one in asked if one not in seeing])
        for client_id in seeing:
            acknowledged(client_id)
        for client_id in cut:
            self._break(self.model.clients[client_id])
        hung_up.set_result(None)
        receipt = (await waiting).as_dict()
        self.model.named(receipt["id"])
        assert (receipt["acked"], receipt["disconnected"]) == (seeing, cut)
        assert receipt["timedOut"] == [one for one in asked if one not in {*seeing, *cut}]
        assert receipt["recipients"] == len(handed)
        for client_id in seeing:
            self.model.acknowledge(self.model.clients[client_id], receipt["id"])
        for client_id in cut:
            self.model.cut(self.model.clients[client_id])
        self._depart()

    def _publish_in_model(self, target: Target, *, is_stored: bool) -> tuple[list[str], list[str]]:
        return self.model.publish(target, is_stored=is_stored)

    def _compare(self, receipt: dict[str, Any], target: Target, *, is_stored: bool) -> None:
        handed, awaiting = self._publish_in_model(target, is_stored=is_stored)
        self.model.named(receipt["id"])
        assert (receipt["recipients"], receipt["pending"]) == (len(handed), len(awaiting))
        assert ("offset" in receipt) == is_stored

    def _depart(self) -> None:
        """Let go of the connections that were closed, as at the end of a turn."""
        for client in self.model.those("closing"):
            self._break(client)
            self.model.departed(client)

    # What both say

    async def compare_traces(self, event_ids: list[str]) -> None:
        traces = self.world.service.traces
        for event_id in event_ids:
            event = traces.find(event_id)
            told = {}
            for client in self.model.clients.values():
                (entry,) = (await traces.describe(event, client.id))["clients"]
                told[client.id] = (entry["state"], entry.get("reason"))
            fates = {client.id: client.fates[event_id] for client in self.model.clients.values()}
            assert told == fates, self.model.events[event_id]
            listed = [entry["clientId"] for entry in (await traces.describe(event))["clients"]]
            assert listed == [one for one, fate in fates.items() if fate[0] != "not_matched"]

    def compare_lists(self) -> None:
        directory = self.world.service.directory
        here = self.model.those("here")
        for room in ROOMS:
            members = [client for client in here if room in client.rooms]
            present = directory.present(room)["clients"]
            assert sorted(one["clientId"] for one in present) == [one.id for one in members]
            assert (directory.room(room)["clients"], directory.room(room)["users"]) == (
                len(members),
                len({one.user_id for one in members}),
            )
        for user in USERS:
            of_user = [client.id for client in here if client.user_id == user]
            assert sorted(directory.user(user)["clients"]) == of_user
        assert self.world.service.status()["connectedClients"] == len(here)


async def play(chance: random.Random) -> None:
    world = await make_world(announces_clients=False)
    play = Play(world, chance)
    for _ in range(3):
        await play.do("connect")
    for _ in range(40):
        await play.do(chance.choice(STEPS))
        play.compare_lists()
        await play.compare_traces(list(play.model.events)[-1:])
    await play.compare_traces(list(play.model.events))
    await world.journal.close()


@settings(max_examples=60, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_every_count_and_every_trace_is_what_the_model_says(chance: random.Random) -> None:
    asyncio.run(play(chance))
