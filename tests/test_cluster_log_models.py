"""Whatever Redis does, and whichever process ends: each event takes effect once, in its order."""

import asyncio
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fake_redis import FakeRedis
from tests.shared_logs import Node, Published, started
from tests.virtual_time import run_virtually

steps_of_logs = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([0, 1]), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.03, 0.1, 0.5]), st.none()),
        st.tuples(
            st.sampled_from(["away", "back", "hold", "let", "lost", "unanswered", "save", "lose"]),
            st.none(),
            st.none(),
        ),
        st.tuples(st.sampled_from(["kill", "restart"]), st.sampled_from([0, 1]), st.none()),
    ),
    max_size=30,
)


class Model:
    """Two processes, those that took their places, and what they have published."""

    def __init__(self, redis: FakeRedis, nodes: list[Node]) -> None:
        self.redis = redis
        self.nodes = nodes
        self.ended: list[Node] = []
        self.killed: list[Node] = []
        self.published: list[Published] = []
        self.has_lost = False
        self._count = 0

    async def do(self, step: str, what: Any, more: Any) -> None:
        redis = self.redis
        self.set_clock()
        actions = {
            "away": redis.go_away,
            "back": redis.come_back,
            "hold": redis.hold,
            "let": redis.let,
            "lost": lambda: redis.troubles.append("lost"),
            "unanswered": lambda: redis.troubles.append("unanswered"),
            "save": redis.save,
        }
        if step in actions:
            actions[step]()
        elif step == "publish":
            self.publish(self.nodes[what], more)
        elif step == "wait":
            await asyncio.sleep(what)
        elif step == "lose":
            await self.lose()
        else:
            await self.replace(what, is_killed=step == "kill")

    def set_clock(self) -> None:
        self.redis.now = round(asyncio.get_running_loop().time() * 1000)

    def publish(self, node: Node, count: int) -> None:
        for _ in range(count):
            one = node.publish()
            one.known_to = list(self.nodes)
            one.outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
            self.published.append(one)

    async def lose(self) -> None:
        """Let Redis start again with what it had saved: nobody has a connection then."""
        self.has_lost = True
        self.redis.go_away()
        await asyncio.sleep(0.01)
        self.redis.set_back()
        self.set_clock()
        self.redis.come_back()

    async def replace(self, which: int, *, is_killed: bool) -> None:
        node = self.nodes[which]
        await (node.kill() if is_killed else node.log.close())
        self.ended.append(node)
        if is_killed:
            self.killed.append(node)
        self._count += 1
        name = f"{node.name.partition('.')[0]}.{self._count}"
        self.nodes[which] = Node(name, self.redis, node.store)
        await self.nodes[which].log.open()

    async def rest(self) -> None:
        """Let Redis be there again, and everybody find that out."""
        self.redis.troubles.clear()
        self.redis.come_back()
        self.redis.let()
        for _ in range(10):
            self.set_clock()
            await asyncio.sleep(1)


def of_process(seen: list[str], name: str) -> list[int]:
    """Return which events of a process are among some, in their order."""
    found = (event_id.rpartition("-") for event_id in seen)
    return [int(at) for origin, _, at in found if origin == name]


def check_effects(model: Model) -> None:
    for node in (*model.nodes, *model.ended):
        assert len(set(node.seen)) == len(node.seen), "something took effect twice"
        for process in (*model.nodes, *model.ended):
            numbers = of_process(node.seen, process.name)
            assert numbers == sorted(numbers), "something took effect out of order"
    for node in model.nodes:
        assert not node.log.is_cut_off
        assert (node.log.outbox.entries, node.log.outbox.bytes) == (0, 0)
        assert node.log.queue_length == 0


def check_outcomes(model: Model) -> None:
    for one in model.published:
        living = [node for node in one.known_to if node in model.nodes]
        origin = next(node for node in one.known_to if one.event_id.startswith(f"{node.name}-"))
        if origin in model.nodes:
            assert one.outcome.done(), "somebody waits for ever"
        if origin in model.killed or not one.outcome.done():
            continue
        if one.outcome.exception() is None:
            assert one.event_id in origin.seen
            # What Redis has lost, the process that had published it sends again.
            is_safe = origin in model.nodes or not model.has_lost
            missing = [node.name for node in living if one.event_id not in node.seen]
            assert not (is_safe and missing), f"{one.event_id} was lost"
        else:
            everywhere = (*model.nodes, *model.ended)
            assert not any(one.event_id in node.seen for node in everywhere)


def check_offsets(model: Model) -> None:
    for node in model.nodes:
        for effect in node.effects:
            assert effect.offset is not None
            if effect.was_cut_off:
                assert effect.offset.epoch != node.log.epoch
            elif not model.has_lost:
                assert effect.offset.epoch == node.log.epoch


async def check(steps: list[tuple[str, Any, Any]]) -> None:
    redis = FakeRedis()
    model = Model(redis, await started("a", "b", redis=redis))
    redis.save()
    for step in steps:
        await model.do(*step)
    await model.rest()
    check_effects(model)
    check_outcomes(model)
    check_offsets(model)
    for node in model.nodes:
        await node.log.close()


def loses(*steps: tuple[str, Any, Any]) -> list[tuple[str, Any, Any]]:
    return [*steps, ("lose", None, None)]


# Redis loses what is no longer in an outbox and has not been read back.
LOST_UNREAD = loses(
    ("away", None, None),
    ("wait", 0.0, None),
    ("back", None, None),
    ("publish", 1, 2),
    ("hold", None, None),
    ("restart", 0, None),
    ("restart", 0, None),
    ("lose", None, None),
    ("let", None, None),
    ("wait", 0.1, None),
)

# The same, and what it has lost it had only called known.
LOST_KNOWN = loses(
    ("lost", None, None),
    ("unanswered", None, None),
    ("unanswered", None, None),
    ("restart", 0, None),
    ("publish", 1, 2),
    ("wait", 0.5, None),
    ("publish", 0, 2),
    ("wait", 0.1, None),
)


@settings(max_examples=200, deadline=None)
@example(steps=LOST_UNREAD)
@example(steps=LOST_KNOWN)
@given(steps=steps_of_logs)
def test_each_event_takes_effect_once_and_in_its_order(steps: list[tuple[str, Any, Any]]) -> None:
    run_virtually(check(steps))
