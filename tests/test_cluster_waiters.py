"""Those who wait until the log has come to a number."""

import asyncio

from gtower_realtime.cluster.waiters import Waiters
from tests.virtual_time import run_virtually


async def waiting(waiters: Waiters, *numbers: int) -> "list[asyncio.Task[None]]":
    tasks = [asyncio.create_task(waiters.wait(number, 5.0)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def who_is_awake(tasks: "list[asyncio.Task[None]]") -> list[bool]:
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


def test_they_wake_when_their_number_has_come() -> None:
    async def check() -> None:
        waiters = Waiters()
        tasks = await waiting(waiters, 30, 10, 20, 10)
        waiters.come_to(9)
        assert await who_is_awake(tasks) == [False, False, False, False]
        waiters.come_to(10)
        assert await who_is_awake(tasks) == [False, True, False, True]
        waiters.come_to(25)
        assert await who_is_awake(tasks) == [False, True, True, True]
        waiters.come_to(30)
        assert await who_is_awake(tasks) == [True, True, True, True]

    run_virtually(check())


def test_all_wake_when_nobody_can_say() -> None:
    async def check() -> None:
        waiters = Waiters()
        tasks = await waiting(waiters, 10, 20)
        waiters.give_up()
        assert await who_is_awake(tasks) == [True, True]

    run_virtually(check())


def test_nobody_waits_for_longer_than_said() -> None:
    async def check() -> None:
        waiters = Waiters()
        loop = asyncio.get_running_loop()
        began = loop.time()
        [task] = await waiting(waiters, 10)
        await task
        assert 5.0 <= loop.time() - began < 5.1
        # One that has gone is woken without harm.
        waiters.come_to(10)

    run_virtually(check())
