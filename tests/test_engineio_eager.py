import asyncio
import gc

import pytest

from gtower_realtime.engineio.eager import EagerTasks


class Done:
    """What `when_done` was called with."""

    def __init__(self) -> None:
        self.calls: list[BaseException | None] = []
        self.event = asyncio.Event()

    def __call__(self, problem: BaseException | None) -> None:
        self.calls.append(problem)
        self.event.set()


@pytest.fixture
def tasks() -> EagerTasks:
    return EagerTasks()


@pytest.mark.gen_test
async def test_a_coroutine_that_does_not_wait_has_ended_at_once_without_a_task(
    tasks: EagerTasks,
) -> None:
    ran: list[str] = []

    async def handler() -> None:
        ran.append("ran")

    done, before = Done(), asyncio.all_tasks()
    assert tasks.start(handler(), done)
    assert ran == ["ran"]
    assert asyncio.all_tasks() == before
    assert done.calls == []


@pytest.mark.gen_test
async def test_a_coroutine_that_waits_goes_on_in_a_task_and_is_told_done_once(
    tasks: EagerTasks,
) -> None:
    steps: list[object] = []
    waited_for: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler() -> None:
        steps.append("begun")
        steps.append(await waited_for)
        await asyncio.sleep(0)
        steps.append("ended")

    done = Done()
    assert not tasks.start(handler(), done)
    assert steps == ["begun"]
    waited_for.set_result("went on")
    await done.event.wait()
    assert steps == ["begun", "went on", "ended"]
    assert done.calls == [None]
    assert len(tasks) == 0


@pytest.mark.gen_test
async def test_what_is_raised_before_the_first_wait_is_raised_to_the_caller(
    tasks: EagerTasks,
) -> None:
    async def handler() -> None:
        raise KeyError("x")

    done = Done()
    with pytest.raises(KeyError):
        tasks.start(handler(), done)
    assert done.calls == []


@pytest.mark.gen_test
async def test_what_is_raised_after_it_is_handed_to_when_done(tasks: EagerTasks) -> None:
    async def handler() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    done = Done()
    tasks.start(handler(), done)
    await done.event.wait()
    assert [type(problem) for problem in done.calls] == [KeyError]


@pytest.mark.gen_test
async def test_an_exception_of_what_is_waited_for_arrives_in_the_coroutine(
    tasks: EagerTasks,
) -> None:
    caught: list[str] = []
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handler() -> None:
        try:
            await waited_for
        except LookupError as problem:
            caught.append(str(problem))

    done = Done()
    tasks.start(handler(), done)
    waited_for.set_exception(LookupError("gone"))
    await done.event.wait()
    assert caught == ["gone"]
    assert done.calls == [None]


@pytest.mark.gen_test
async def test_a_coroutine_whose_wait_is_cancelled_is_told_done_too(tasks: EagerTasks) -> None:
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handler() -> None:
        await waited_for

    done = Done()
    tasks.start(handler(), done)
    waited_for.cancel()
    await done.event.wait()
    assert [type(problem) for problem in done.calls] == [asyncio.CancelledError]


@pytest.mark.gen_test
async def test_finish_waits_for_those_that_end_and_cancels_those_that_do_not(
    tasks: EagerTasks,
) -> None:
    ended: list[str] = []

    async def ends() -> None:
        await asyncio.sleep(0)
        ended.append("ended")

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    first, second = Done(), Done()
    tasks.start(ends(), first)
    tasks.start(hangs(), second)
    await tasks.finish(0.05)
    assert ended == ["ended", "cancelled"]
    assert first.calls == [None]
    assert [type(problem) for problem in second.calls] == [asyncio.CancelledError]
    assert len(tasks) == 0


@pytest.mark.gen_test
async def test_one_that_gets_no_time_at_all_is_cancelled_and_told(
    tasks: EagerTasks,
) -> None:
    ended: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    done = Done()
    tasks.start(hangs(), done)
    await tasks.finish(0)
    assert ended == ["closed"]
    assert [type(problem) for problem in done.calls] == [asyncio.CancelledError]


@pytest.mark.gen_test
async def test_a_coroutine_that_waits_is_not_lost_to_the_garbage_collector(
    tasks: EagerTasks,
) -> None:
    async def handler() -> None:
        # Nobody but the handler knows this future.
        waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, waited_for.set_result, None)
        await waited_for

    done = Done()
    tasks.start(handler(), done)
    gc.collect()
    await asyncio.wait_for(done.event.wait(), 10)
    assert done.calls == [None]
