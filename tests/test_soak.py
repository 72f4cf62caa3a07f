"""The judgement of a soak, what rises and what stays behind; and the clients that it lets come."""

import asyncio
import math
from collections.abc import Callable

import pytest

from benchmarks.soak.series import WATCHED, Remains, Series, Watched
from benchmarks.soak.wire import Connection, Gone, Refused, event_of
from gtower_realtime.application import Application
from gtower_realtime.metrics import Metrics
from tests.wire import until

SAMPLES = 60
SECONDS = 2.0

SESSIONS = Watched("sessions", "sessions", allowance=60, noise=0.25)


def series(value_at: Callable[[int], float], watched: Watched = SESSIONS) -> Series:
    """Return a series with a sample every two seconds."""
    found = Series(watched)
    for number in range(SAMPLES):
        found.add(number * SECONDS, value_at(number))
    return found


def test_what_stays_level_does_not_rise_however_much_it_swings() -> None:
    level = series(lambda number: 150 + 50 * math.sin(number))
    assert not level.rises()
    assert abs(level.rise()) < 20


def test_a_clear_slope_rises_also_under_noise() -> None:
    leak = series(lambda number: 150 + 3 * number + 20 * math.sin(number))
    assert leak.rises()
    assert leak.rise() == pytest.approx(120, abs=15)
    assert leak.slope_per_hour() == pytest.approx(3 / SECONDS * 3600, rel=0.1)


def test_one_sample_out_of_place_is_no_rise() -> None:
    assert not series(lambda number: 10_000 if number == SAMPLES - 1 else 150).rises()


def test_a_rise_below_the_share_that_is_noise_is_none() -> None:
    assert not series(lambda number: 1000 + 4 * number).rises()
    assert series(lambda number: 1000 + 9 * number).rises()


def test_what_falls_does_not_rise() -> None:
    falling = series(lambda number: 1000 - number * 10)
    assert not falling.rises()
    assert falling.slope_per_hour() == pytest.approx(-18_000)


def test_figures_are_in_the_unit_of_the_row() -> None:
    memory = Watched("process_resident_memory_bytes", "memory, MB", 16, unit=1e6)
    assert series(lambda _: 5e6, memory).values == [5.0] * SAMPLES


def test_too_few_samples_have_no_slope() -> None:
    one = Series(SESSIONS)
    one.add(0, 5)
    assert (one.slope_per_hour(), one.rise(), one.rises()) == (0.0, 0.0, False)


@pytest.mark.parametrize(
    ("allowed", "before", "after", "is_too_much"),
    [(0.0, 0, 0, False), (0.0, 0, 1, True), (2.0, 14, 16, False), (2.0, 14, 17, True)],
)
def test_what_stays_behind(allowed: float, before: float, after: float, is_too_much: bool) -> None:
    watched = Watched("x", "x", 1, is_left=allowed)
    assert Remains(watched, before, after).is_too_much is is_too_much


def test_memory_is_not_asked_to_be_what_it_was() -> None:
    watched = Watched("process_resident_memory_bytes", "memory", 16, is_left=None)
    assert not Remains(watched, 80, 200).is_too_much


def test_every_watched_figure_is_a_metric() -> None:
    known = {row.name for row in Metrics().rows()}
    assert [each.metric for each in WATCHED if f"gtower_{each.metric}" not in known] == []


# Clients


@pytest.mark.gen_test
@pytest.mark.usefixtures("http_server")
async def test_a_visitor_comes_back_to_what_it_has_missed(
    application: Application, http_port: int
) -> None:
    lost = await Connection.open(http_port, "10.0.0.1")
    connected = await lost.join()
    assert connected["recovered"] is False
    await lost.ask("joinRoom", "sales")
    await application.service.send_event_to_room("sales", "first", {"text": "x" * 70_000})
    assert event_of(await lost.hear())[0] == "first"
    lost.cut()
    await until(lambda: connected["clientId"] not in application.clients)
    await application.service.send_event_to_room("sales", "second", {"text": "x" * 200})
    back = await Connection.open(http_port, "10.0.0.2")
    back.pid, back.offset = lost.pid, lost.offset
    assert (await back.join())["recovered"] is True
    assert event_of(await back.hear())[0] == "second"
    await back.close()


@pytest.mark.gen_test
@pytest.mark.usefixtures("http_server")
async def test_whoever_stops_listening_in_the_middle_of_a_frame_loses_nothing(
    application: Application, http_port: int
) -> None:
    connection = await Connection.open(http_port, "10.0.0.1")
    await connection.join()
    for number in range(20):
        await application.service.broadcast_event(f"event{number}", {"text": "x" * 50_000})
    heard: list[str] = []

    async def listen() -> None:
        while True:
            heard.append(event_of(await connection.hear())[0])

    while len(heard) < 20:
        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        listening.cancel()
        await asyncio.wait({listening})
    assert heard == [f"event{number}" for number in range(20)]
    await connection.close()


@pytest.mark.gen_test
@pytest.mark.usefixtures("http_server")
async def test_a_visitor_hears_why_it_was_closed(http_port: int) -> None:
    connection = await Connection.open(http_port, "10.0.0.1")
    await connection.say("40{")
    with pytest.raises(Gone):
        await connection.hear()
    assert connection.close_code == 1002
    connection.cut()


class TestRefusals:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_MAX_CONNECTIONS": "1"}

    @pytest.mark.gen_test
    @pytest.mark.usefixtures("http_server")
    async def test_a_visitor_that_is_not_let_in_says_so(self, http_port: int) -> None:
        first = await Connection.open(http_port, "10.0.0.1")
        with pytest.raises(Refused, match="503"):
            await Connection.open(http_port, "10.0.0.2")
        first.cut()
