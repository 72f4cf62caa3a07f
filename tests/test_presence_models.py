"""Whatever clients do, a room's list and what is told after it are who is there."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeWorld, make_world

PAGES = ["p", "q", "r"]
steps_of_pages = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["join", "leave", "cut", "return", "list"]), st.sampled_from(PAGES)
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.03, 0.1, 1.5, 3.0, 7.0])),
    ),
    max_size=40,
)


class Pages:
    """Clients that read the list of a room once, and then believe what they are told."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.online = set(PAGES)
        self.believed: dict[str, dict[str, Any]] = {}
        """What each page believes, by client id, once it has read the list."""
        self.told_at: dict[str, float] = {}

    async def do(self, step: str, page: str) -> None:
        world, service = self.world, self.world.service
        if step == "return" and page not in self.online:
            await world.come_back(page, world.offset(0))
            self.online.add(page)
        elif page not in self.online:
            return
        elif step == "join":
            await service.join_room(page, "desk:1")
        elif step == "leave":
            await service.leave_room(page, "desk:1")
            self.believed.pop(page, None)
        elif step == "cut":
            self.online.discard(page)
            self.believed.pop(page, None)
            world.cut(page)
        elif step == "list" and "desk:1" in world.transport.rooms_of(page):
            answer = await service.read_presence(page, "desk:1")
            self.believed[page] = {one["clientId"]: one for one in answer["clients"]}

    def there(self) -> dict[str, Any]:
        listed = self.world.service.directory.present("desk:1")["clients"]
        return {one["clientId"]: one for one in listed}

    def hear(self) -> None:
        """Let all pages take in what they were told."""
        for page in self.online:
            for event, payload in self.world.received(page):
                if event == "presence":
                    self.take(page, payload)
        self.world.transport.forget()

    def take(self, page: str, payload: Any) -> None:
        came = {one["clientId"]: one for one in payload["joins"]}
        left = {one["clientId"] for one in payload["leaves"]}
        assert came or left
        assert page not in came | dict.fromkeys(left)
        assert left.isdisjoint(came)
        now = self.world.clock.monotonic()
        assert now - self.told_at.get(page, 0.0) > 0.099
        self.told_at[page] = now
        if page in self.believed:
            known = self.believed[page] | came
            self.believed[page] = {one: told for one, told in known.items() if one not in left}


async def check(steps: list[tuple[str, Any]]) -> None:
    world = await make_world(presence_rooms=["desk:"])
    await world.connect(*PAGES)
    pages = Pages(world)
    for page in PAGES:
        await pages.do("join", page)
    for step, what in [*steps, ("wait", 3.0), ("wait", 1.0)]:
        if step == "wait":
            world.clock.advance(what)
            world.service.tell_presence()
        else:
            await pages.do(step, what)
        pages.hear()
    await world.journal.close()
    for believed in pages.believed.values():
        assert believed == pages.there()


@settings(max_examples=300, deadline=None)
@given(steps=steps_of_pages)
def test_the_list_and_what_is_told_after_it_are_who_is_there(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(check(steps))
