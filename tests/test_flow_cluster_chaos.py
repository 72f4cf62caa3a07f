"""Everything that can go wrong in a cluster, mixed by chance: nothing is lost, nothing comes twice.

``CHAOS_STEPS`` says how long it goes on and ``CHAOS_SEED`` how; the defaults are for every day.
"""

import os
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.cluster import NodeProcess
from tests.cluster_traffic import Traffic, traffic_at
from tests.redis_server import RedisServer

STEPS = int(os.environ.get("CHAOS_STEPS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", "10"))

MAX_TROUBLES = 3
"""At once; the oldest ends when there would be more."""


class Chaos:
    """What troubles there are, and how each ends. One at a time of each kind and place."""

    def __init__(self, redis: RedisServer, traffic: Traffic, nodes: list[NodeProcess]) -> None:
        self._redis = redis
        self._traffic = traffic
        self._nodes = nodes
        self._chance = traffic.chance
        self.troubles: list[str] = []
        self.story: list[str] = []
        """What was done, step by step."""

    async def step(self) -> None:
        """Begin a trouble that is not there yet, and end one if there are too many."""
        may_come = [
            name
            for name in (
                *("redis killed", "redis emptied", "redis frozen", "redis full"),
                *(f"node {number} killed" for number in range(3)),
                *(f"node {number} frozen" for number in range(3)),
                *(f"line {number} stalled" for number in range(3)),
                *(f"line {number} cut" for number in range(3)),
                "clients cut",
            )
            if name.rsplit(" ", 1)[0] not in {one.rsplit(" ", 1)[0] for one in self.troubles}
        ]
        trouble = self._chance.choice(may_come)
        self.story.append(trouble)
        await self._begin(trouble)
        if len(self.troubles) >= MAX_TROUBLES:
            await self.end_oldest()

    async def end_oldest(self) -> None:
        """Mend what has been broken longest."""
        trouble = self.troubles.pop(0)
        self.story.append(f"no longer {trouble}")
        match trouble.split():
            case "redis", "killed":
                self._redis.start()
            case "redis", "emptied":
                self._redis.forget()
                self._redis.start()
            case "redis", "frozen":
                self._redis.thaw()
            case "redis", "full":
                self._redis.enlarge()
            case "node", number, "killed":
                await self._nodes[int(number)].start()
            case "node", number, "frozen":
                self._nodes[int(number)].thaw()
            case "line", number, "stalled":
                self._nodes[int(number)].line.resume()

    def publishing(self) -> list[int]:
        """Return which nodes take events."""
        return [
            number
            for number in range(3)
            if not {f"node {number} killed", f"node {number} frozen"} & set(self.troubles)
        ]

    async def _begin(self, trouble: str) -> None:
        match trouble.split():
            case "clients", "cut":
                for client in self._chance.sample(self._traffic.clients, 2):
                    client.cut()
                return
            case "line", number, "cut":
                self._nodes[int(number)].line.cut()
                return
            case "redis", "killed" | "emptied":
                self._redis.kill()
            case "redis", "frozen":
                self._redis.freeze()
            case "redis", "full":
                self._redis.fill()
            case "node", number, "killed":
                await self._nodes[int(number)].kill()
            case "node", number, "frozen":
                self._nodes[int(number)].freeze()
            case "line", number, "stalled":
                self._nodes[int(number)].line.stall()
        self.troubles.append(trouble)


@pytest.fixture
def traffic(io_loop: IOLoop, lined_processes: list[NodeProcess]) -> Iterator[Traffic]:
    with traffic_at(io_loop, lined_processes, seed=SEED) as traffic:
        yield traffic


@pytest.mark.gen_test(timeout=180 + 20 * STEPS)
async def test_whatever_happens_each_event_comes_once_to_everybody_it_is_for(
    lined_processes: list[NodeProcess], traffic: Traffic, own_redis: RedisServer
) -> None:
    chaos = Chaos(own_redis, traffic, lined_processes)
    await traffic.begin()
    await traffic.more(5)
    try:
        for _ in range(STEPS):
            await chaos.step()
            if publishing := chaos.publishing():
                await traffic.more(traffic.chance.randrange(1, 10), *publishing)
        while chaos.troubles:
            await chaos.end_oldest()
        for node in lined_processes:
            await node.is_together()
        await traffic.more(5)
        await traffic.end()
    except BaseException as problem:
        problem.add_note(f"seed {SEED}: {'; '.join(chaos.story)}")
        raise
