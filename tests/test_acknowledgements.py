"""Acknowledgements leave in the order of the events, whenever their answers are there."""

import asyncio
from typing import Any

import pytest

from gtower_realtime.engineio.protocol import EncodedPacket
from gtower_realtime.gateway.acknowledgements import Acknowledgements

pytestmark = pytest.mark.gen_test


class FakeSession:
    """A session that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, packet: EncodedPacket) -> bool:
        self.sent.append(str(packet))
        return True


def packets(*names: str) -> list[Any]:
    """Return what stands for packets here: only their order counts."""
    return list(names)


def settle(answer: "asyncio.Future[Any]") -> list[Any]:
    problem = answer.exception()
    return packets(f"refused {problem}" if problem else f"ack {answer.result()}")


class Owing:
    """Acknowledgements for sessions s1 and s2."""

    def __init__(self) -> None:
        self.sessions: dict[str, Any] = {"s1": FakeSession(), "s2": FakeSession()}
        self.acknowledgements = Acknowledgements(self.sessions)

    def defer(self, sid: str = "s1") -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.acknowledgements.defer(sid, answer, settle)
        return answer

    def give(self, *names: str, sid: str = "s1") -> None:
        self.acknowledgements.give(sid, packets(*names))

    async def sent(self, sid: str = "s1") -> list[str]:
        await asyncio.sleep(0)
        sent: list[str] = self.sessions[sid].sent
        return sent


async def test_without_anything_owed_an_answer_goes_at_once() -> None:
    owing = Owing()
    owing.give("a", "b")
    assert owing.sessions["s1"].sent == ["a", "b"]


async def test_what_is_answered_at_once_waits_for_what_was_asked_before() -> None:
    owing = Owing()
    owing.give("a")
    first = owing.defer()
    owing.give("b")
    second = owing.defer()
    owing.give("c")
    assert await owing.sent() == ["a"]
    second.set_result(2)
    assert await owing.sent() == ["a"]
    first.set_result(1)
    assert await owing.sent() == ["a", "ack 1", "b", "ack 2", "c"]
    owing.give("d")
    assert owing.sessions["s1"].sent[-1] == "d"


async def test_answers_that_come_in_any_order_leave_in_the_order_of_the_events() -> None:
    owing = Owing()
    answers = [owing.defer() for _ in range(5)]
    for place in (3, 1, 4, 0, 2):
        answers[place].set_result(place)
        await asyncio.sleep(0)
    assert await owing.sent() == [f"ack {place}" for place in range(5)]


async def test_a_failed_answer_has_its_place_too() -> None:
    owing = Owing()
    first, second = owing.defer(), owing.defer()
    second.set_result(2)
    first.set_exception(KeyError("no"))
    assert await owing.sent() == ["refused 'no'", "ack 2"]


async def test_one_session_does_not_wait_for_another() -> None:
    owing = Owing()
    owing.defer("s1")
    owing.give("a", sid="s2")
    assert (await owing.sent("s1"), await owing.sent("s2")) == ([], ["a"])


async def test_an_event_that_wants_no_acknowledgement_holds_its_place_and_sends_nothing() -> None:
    owing = Owing()
    first = owing.defer()
    owing.give()
    owing.give("b")
    first.set_result(1)
    assert await owing.sent() == ["ack 1", "b"]


async def test_a_cancelled_answer_holds_nobody_up() -> None:
    owing = Owing()
    first, second = owing.defer(), owing.defer()
    second.set_result(2)
    first.cancel()
    assert await owing.sent() == ["ack 2"]


async def test_an_answer_that_cannot_be_said_holds_nobody_up() -> None:
    complaints: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    owing = Owing()
    first: asyncio.Future[Any] = loop.create_future()

    def fault(_answer: "asyncio.Future[Any]") -> list[Any]:
        raise ValueError("not JSON")

    owing.acknowledgements.defer("s1", first, fault)
    second = owing.defer()
    first.set_result(1)
    second.set_result(2)
    assert await owing.sent() == ["ack 2"]
    assert [str(complaint) for complaint in complaints] == ["not JSON"]


async def test_a_session_that_is_gone_is_owed_nothing() -> None:
    owing = Owing()
    first = owing.defer()
    session = owing.sessions.pop("s1")
    owing.acknowledgements.forget("s1")
    first.set_result(1)
    await asyncio.sleep(0)
    owing.give("a")
    assert session.sent == []
