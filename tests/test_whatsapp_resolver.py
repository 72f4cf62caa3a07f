"""Whose number it is: what is asked, how often, and what happens when nobody answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog.testing
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from gtower_realtime.metrics import Metrics
from gtower_realtime.whatsapp import resolver as resolving
from gtower_realtime.whatsapp.customers import Customers
from gtower_realtime.whatsapp.payloads import Message, Status
from gtower_realtime.whatsapp.resolver import Resolver, fetch_over_http
from tests.fakes import FakeClock
from tests.whatsapp_webhooks import NUMBER, a_message, a_status

pytestmark = pytest.mark.gen_test

URL = "https://crm.example/customers?source=realtime"


class FakeBackEnd:
    """What answers for a URL: with ``answers`` by number, else a 404; once it is let."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception] = {NUMBER: b'{"customerId":"c42"}'}
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    async def fetch(self, url: str) -> bytes | None:
        self.asked.append(url)
        await self.let.wait()
        answer = self.answers.get(url.rpartition("waId=")[2])
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def back_end(io_loop: IOLoop) -> FakeBackEnd:
    return FakeBackEnd()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def resolver(back_end: FakeBackEnd, clock: FakeClock, metrics: Metrics) -> Resolver:
    return Resolver(URL, clock, metrics, back_end.fetch)


def counted(metrics: Metrics) -> dict[str, float]:
    """Return what was counted, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for family in metrics.whatsapp_lookups.collect()
        for sample in family.samples
    }


# Which customer an update is of


async def test_the_back_end_is_asked_for_the_number(
    resolver: Resolver, back_end: FakeBackEnd
) -> None:
    customers = Customers(resolver)
    assert await customers.customer_of(Message(a_message("m1"), {}, {})) == "c42"
    assert await customers.customer_of(Status(a_status("s1", "sent"))) == "c42"
    assert back_end.asked == [f"{URL}&waId={NUMBER}"]
    of_another = Message(a_message("m2", **{"from": "34600000000"}), {}, {})
    assert await customers.customer_of(of_another) == "wa:34600000000"


async def test_what_the_back_end_gave_along_comes_first(
    resolver: Resolver, back_end: FakeBackEnd
) -> None:
    status = Status(a_status("s1", "sent", biz_opaque_callback_data="customer:c7"))
    assert await Customers(resolver).customer_of(status) == "c7"
    assert back_end.asked == []


@pytest.mark.parametrize(
    "callback_data",
    ["customer:", "c7", "campaign:7", 7, "customer:\x00", "customer:" + "c" * 181, None],
)
async def test_what_names_no_customer_is_passed_over(
    resolver: Resolver, callback_data: Any
) -> None:
    status = Status(a_status("s1", "sent", biz_opaque_callback_data=callback_data))
    assert await Customers(resolver).customer_of(status) == "c42"
    assert await Customers(None).customer_of(status) == f"wa:{NUMBER}"


@pytest.mark.parametrize("number", ["", "1\n2", "9" * 200, None, 7])
async def test_without_a_number_that_can_be_in_a_name_nobody_is_asked(
    resolver: Resolver, back_end: FakeBackEnd, number: Any
) -> None:
    message = Message(a_message("m1", **{"from": number}), {}, {})
    assert await Customers(resolver).customer_of(message) == "wa:unknown"
    assert back_end.asked == []


# How often the back-end is asked


async def test_an_answer_is_good_for_ten_minutes(
    resolver: Resolver, back_end: FakeBackEnd, clock: FakeClock, metrics: Metrics
) -> None:
    assert await resolver.find(NUMBER) == "c42"
    back_end.answers[NUMBER] = b'{"customerId":"c43"}'
    clock.advance(599)
    assert await resolver.find(NUMBER) == "c42"
    clock.advance(1)
    assert await resolver.find(NUMBER) == "c43"
    assert counted(metrics) == {"found": 2, "remembered": 1}


async def test_who_is_unknown_is_asked_for_again_after_a_minute(
    resolver: Resolver, back_end: FakeBackEnd, clock: FakeClock, metrics: Metrics
) -> None:
    assert await resolver.find("1") is None
    back_end.answers["1"] = b'{"customerId":"c1"}'
    clock.advance(59)
    assert await resolver.find("1") is None
    clock.advance(1)
    assert await resolver.find("1") == "c1"
    assert counted(metrics) == {"unknown": 1, "remembered": 1, "found": 1}


async def test_several_who_ask_for_one_number_are_one_request(
    resolver: Resolver, back_end: FakeBackEnd
) -> None:
    back_end.let.clear()
    asking = [asyncio.ensure_future(resolver.find(NUMBER)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    back_end.let.set()
    assert await asyncio.gather(*asking[1:]) == ["c42"] * 4
    assert len(back_end.asked) == 1


async def test_ten_are_asked_for_at_a_time(resolver: Resolver, back_end: FakeBackEnd) -> None:
    back_end.let.clear()
    asking = [asyncio.ensure_future(resolver.find(str(number))) for number in range(25)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(back_end.asked) == 10
    back_end.let.set()
    assert await asyncio.gather(*asking) == [None] * 25
    assert len(back_end.asked) == 25


async def test_the_numbers_asked_for_long_ago_are_forgotten(
    resolver: Resolver, back_end: FakeBackEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "MAX_REMEMBERED", 2)
    for number in ("1", "2", "3", "3", "2", "1"):
        await resolver.find(number)
    assert [url.rpartition("=")[2] for url in back_end.asked] == ["1", "2", "3", "1"]


# A back-end that fails


async def test_a_back_end_that_fails_is_left_alone_for_a_while(
    resolver: Resolver, back_end: FakeBackEnd, clock: FakeClock, metrics: Metrics
) -> None:
    back_end.answers[NUMBER] = OSError("no answer in time")
    with structlog.testing.capture_logs() as logged:
        for _ in range(7):
            assert await resolver.find(NUMBER) is None
    assert len(back_end.asked) == 5
    assert {entry["reason"] for entry in logged} == {"no answer in time"}
    clock.advance(30)
    assert await resolver.find(NUMBER) is None
    assert await resolver.find(NUMBER) is None
    assert len(back_end.asked) == 6
    back_end.answers[NUMBER] = b'{"customerId":"c42"}'
    clock.advance(30)
    assert await resolver.find(NUMBER) == "c42"
    assert counted(metrics) == {"failed": 6, "skipped": 3, "found": 1}


async def test_failures_count_only_in_a_row(resolver: Resolver, back_end: FakeBackEnd) -> None:
    back_end.answers["1"] = OSError("no")
    for _ in range(4):
        assert await resolver.find("1") is None
    assert await resolver.find(NUMBER) == "c42"
    for _ in range(4):
        assert await resolver.find("1") is None
    assert len(back_end.asked) == 9


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the answer is not JSON"),
        (b"c42", "the answer is not JSON"),
        (b"[]", "the answer has no customerId"),
        (b"{}", "the answer has no customerId"),
        (b'{"customerId":42}', "the answer has no customerId"),
        (b'{"customerId":""}', "the customerId must not be empty"),
        (b'{"customerId":"a\\u0000"}', "the customerId must not have control characters"),
        (
            json.dumps({"customerId": "c" * 181}).encode(),
            "the customerId must have at most 180 characters",
        ),
    ],
)
async def test_an_answer_that_is_none_counts_as_a_failure(
    resolver: Resolver, back_end: FakeBackEnd, metrics: Metrics, answer: bytes, reason: str
) -> None:
    back_end.answers[NUMBER] = answer
    with structlog.testing.capture_logs() as logged:
        assert await Customers(resolver).customer_of(Message(a_message("m"), {}, {})) == (
            f"wa:{NUMBER}"
        )
    assert [entry["reason"] for entry in logged] == [reason]
    assert counted(metrics) == {"failed": 1}


# Over HTTP


class BackEndHandler(RequestHandler):
    """Answers as the path says."""

    async def get(self, kind: str) -> None:
        if kind == "hangs":
            await asyncio.Event().wait()
        elif kind == "moved":
            self.redirect("/good")
        elif kind == "good":
            self.finish({"customerId": f"of {self.get_query_argument('waId')}"})
        elif kind == "huge":
            self.finish(b"x" * 100_000)
        else:
            self.send_error(int(kind))


@pytest.fixture
def back_end_url(io_loop: IOLoop) -> Iterator[str]:
    listener, port = bind_unused_port()
    server = HTTPServer(Application([("/(.*)", BackEndHandler)]))
    server.add_socket(listener)
    yield f"http://127.0.0.1:{port}"
    server.stop()
    io_loop.run_sync(server.close_all_connections)


async def test_a_customer_is_fetched_over_http(
    back_end_url: str, clock: FakeClock, metrics: Metrics
) -> None:
    assert await Resolver(f"{back_end_url}/good", clock, metrics).find("1 & 2") == "of 1 & 2"
    assert await fetch_over_http(f"{back_end_url}/404") is None


@pytest.mark.parametrize("kind", ["500", "401", "moved", "hangs", "huge"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_anything_else_is_a_failure(back_end_url: str, kind: str) -> None:
    fetch: Callable[..., Awaitable[Any]] = fetch_over_http
    with pytest.raises(OSError, match=r".+"):
        await fetch(f"{back_end_url}/{kind}", 0.5 if kind == "hangs" else 10)
