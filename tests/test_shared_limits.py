"""Limits that hold for all processes together, each told of what the others have spent."""

from collections.abc import Mapping
from typing import Any

import pytest

from gtower_realtime.errors import RateLimited
from gtower_realtime.identity import ApiRates
from gtower_realtime.limits import Rate
from gtower_realtime.peers import Hearing, NoPeers
from gtower_realtime.setting_values import ApiKey
from gtower_realtime.shared_limits import SharedLimits
from tests.fakes import FakeClock

KEY = ApiKey("crm", frozenset({"publish"}), bytes(32))


class Line(NoPeers):
    """What one process spreads, the others hear."""

    def __init__(self) -> None:
        self.others: list[Line] = []
        self.hearing: dict[str, Hearing] = {}

    def hear_of(self, subject: str, hearing: Hearing) -> None:
        self.hearing[subject] = hearing

    def spread(self, subject: str, arguments: Mapping[str, Any]) -> None:
        for other in self.others:
            other.hearing[subject](arguments)


class Process:
    """One process: what it refuses, and what it has been told."""

    def __init__(self, clock: FakeClock, rate: str) -> None:
        self.line = Line()
        self.rates = ApiRates(Rate.parse(rate), clock.monotonic)
        self.penalised: list[tuple[str | None, str]] = []
        self.limits = SharedLimits(
            self.line,
            self.rates,
            lambda user_id, address: self.penalised.append((user_id, address)),
        )

    def uses(self, times: int) -> int:
        """Use the key so often; return how often that was allowed."""
        for allowed in range(times):
            try:
                self.rates.check(KEY)
            except RateLimited:
                return allowed
        return times


def processes(rate: str) -> tuple[FakeClock, Process, Process]:
    clock = FakeClock()
    one, other = Process(clock, rate), Process(clock, rate)
    one.line.others, other.line.others = [other.line], [one.line]
    return clock, one, other


def test_what_a_key_has_used_at_one_process_is_used_at_the_others() -> None:
    _, one, other = processes("10/100")
    assert one.uses(60) == 60
    one.limits.tell()
    assert other.uses(100) == 40
    other.limits.tell()
    assert one.uses(1) == 0


def test_what_was_told_once_is_not_told_again() -> None:
    _, one, other = processes("10/100")
    one.uses(60)
    one.limits.tell()
    one.limits.tell()
    assert other.uses(100) == 40


def test_what_was_refused_counts_nowhere() -> None:
    _, one, other = processes("1/10")
    assert one.uses(50) == 10
    one.limits.tell()
    assert other.uses(50) == 0


def test_the_key_is_free_again_after_as_long_as_with_one_process() -> None:
    clock, one, other = processes("10/100")
    one.uses(100)
    one.limits.tell()
    clock.advance(1)
    assert other.uses(100) == 10


def test_two_bursts_at_once_do_not_bar_the_key_for_longer_than_one() -> None:
    clock, one, other = processes("10/100")
    assert (one.uses(100), other.uses(100)) == (100, 100)
    one.limits.tell()
    other.limits.tell()
    assert other.uses(1) == 0
    clock.advance(1)
    assert other.uses(100) == 10


def test_without_a_limit_nothing_is_counted_against_a_key() -> None:
    _, one, other = processes("0/0")
    one.uses(1000)
    one.limits.tell()
    assert other.uses(1000) == 1000


@pytest.mark.parametrize(("user_id", "address"), [("ann", "10.0.0.1"), (None, "10.0.0.2")])
def test_who_floods_one_process_is_refused_by_all(user_id: str | None, address: str) -> None:
    _, one, other = processes("0/0")
    one.limits.penalise(user_id, address)
    assert one.penalised == other.penalised == [(user_id, address)]
