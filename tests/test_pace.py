"""Rates of single clients: the bucket waits, the flood ends."""

import pytest

from gtower_realtime.application import Application
from gtower_realtime.errors import RateLimited
from gtower_realtime.gateway.pace import MAX_SECONDS_OVER, Pace
from gtower_realtime.limits import Rate
from gtower_realtime.metrics import values
from tests.conftest import ConnectClient


class Time:
    """A clock that goes on by itself only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.late = 0.0
        """How much longer than asked it sleeps."""
        monkeypatch.setattr("gtower_realtime.gateway.pace.asyncio.sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds + self.late


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


@pytest.fixture
def floods() -> list[str]:
    return []


@pytest.fixture
def pace(time: Time, floods: list[str]) -> Pace:
    return Pace({"events": Rate(2, 3), "joins": Rate(0, 0)}, time, floods.append)


@pytest.mark.gen_test
async def test_a_burst_goes_through_and_what_comes_then_waits(pace: Pace, time: Time) -> None:
    for _ in range(5):
        await pace.keep("ann", "events")
    assert time.slept == [0.5, 0.5]


@pytest.mark.gen_test
async def test_each_client_has_its_own_buckets(pace: Pace, time: Time) -> None:
    for client in ("ann", "ben"):
        for _ in range(3):
            await pace.keep(client, "events")
    assert time.slept == []


@pytest.mark.gen_test
async def test_an_unlimited_rate_never_waits(pace: Pace, time: Time) -> None:
    for _ in range(1000):
        await pace.keep("ann", "joins")
    assert time.slept == []


@pytest.mark.gen_test
async def test_a_client_that_does_not_stop_is_a_flood(
    pace: Pace, time: Time, floods: list[str]
) -> None:
    async def flood() -> None:
        while time.now < 100 + 2 * MAX_SECONDS_OVER:
            await pace.keep("ann", "events")

    with pytest.raises(RateLimited):
        await flood()
    assert floods == ["ann"]
    assert 100 + MAX_SECONDS_OVER <= time.now <= 100 + MAX_SECONDS_OVER + 1


@pytest.mark.gen_test
async def test_a_flood_is_one_also_while_the_loop_is_late(
    pace: Pace, time: Time, floods: list[str]
) -> None:
    time.late = 0.6  # when it comes to an event, one behind it needs not wait

    async def flood() -> None:
        while time.now < 100 + 2 * MAX_SECONDS_OVER:
            await pace.keep("ann", "events")

    with pytest.raises(RateLimited):
        await flood()
    assert floods == ["ann"]


@pytest.mark.gen_test
async def test_a_client_that_rests_now_and_then_is_none(
    pace: Pace, time: Time, floods: list[str]
) -> None:
    for _ in range(20):
        for _ in range(6):
            await pace.keep("ann", "events")
        time.now += 5
    assert floods == []


@pytest.mark.gen_test
async def test_another_rate_holds_at_once_for_who_is_there(pace: Pace, time: Time) -> None:
    for _ in range(3):
        await pace.keep("c1", "events")
    pace.change({"events": Rate(4, 1), "joins": Rate(1, 1)})
    for name in ("events", "events", "joins", "joins"):
        await pace.keep("c1", name)
    assert time.slept == [0.25, 1.0]


@pytest.mark.gen_test
async def test_a_client_that_comes_anew_starts_anew(pace: Pace, time: Time) -> None:
    for _ in range(2):
        for _ in range(3):
            await pace.keep("ann", "events")
        pace.forget("ann")
    assert time.slept == []


class TestOverTheWire:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_RATE_EVENTS": "200/5", "GTOWER_RATE_JOINS": "100/2"}

    @pytest.mark.gen_test
    async def test_nothing_of_a_burst_is_lost_or_out_of_order(
        self, connect_client: ConnectClient
    ) -> None:
        speaker, hearer = await connect_client(), await connect_client()
        for n in range(40):
            await speaker.socket.emit("message", {"n": n})
        heard = [await hearer.next_event("messageBroadcast") for _ in range(40)]
        assert [payload["message"]["n"] for payload in heard] == list(range(40))

    @pytest.mark.gen_test
    async def test_a_flood_is_closed_and_its_address_refused_for_a_while(
        self,
        application: Application,
        connect_client: ConnectClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("gtower_realtime.gateway.pace.MAX_SECONDS_OVER", 0.0)
        client = await connect_client()
        for n in range(10):
            await client.socket.emit("message", {"n": n})
        await client.socket.wait()
        with pytest.raises(RateLimited):
            application.connection_limits.admit("127.0.0.1", application.clock.monotonic())

    @pytest.mark.parametrize("environ", [{"GTOWER_RATE_JOINS": "1/2"}])
    @pytest.mark.parametrize(
        ("event", "argument"),
        [("joinRoom", "sales"), ("leaveRoom", "sales"), ("history", {"room": "sales"})],
    )
    @pytest.mark.gen_test
    async def test_what_costs_more_waits_sooner(
        self,
        application: Application,
        connect_client: ConnectClient,
        event: str,
        argument: str | dict[str, str],
    ) -> None:
        client = await connect_client()
        assert [(await client.ask(event, argument))["ok"] for _ in range(2)] == [True, True]
        before = values(application.metrics.rate_limited).get("joins", 0)
        assert (await client.ask(event, argument))["ok"]
        assert values(application.metrics.rate_limited)["joins"] == before + 1
