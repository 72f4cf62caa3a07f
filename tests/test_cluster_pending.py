"""What was appended until it is read back, and what is retained of it."""

from typing import Any

import pytest

from gtower_realtime.cluster import pending as module
from gtower_realtime.cluster.link import Sent
from gtower_realtime.cluster.pending import Pending, Retained
from gtower_realtime.cluster.units import Unit


def unit(sequence: int, text: str = "[]") -> Unit:
    outcome: Any = None  # nobody waits
    return Unit(sequence, [], text, "", None, lambda _: None, outcome, 0.0)


def sequences(units: list[Unit]) -> list[int]:
    return [one.sequence for one in units]


def test_units_wait_in_their_order_until_they_are_taken() -> None:
    pending = Pending()
    for sequence in (1, 2, 3):
        pending.add(unit(sequence))
    assert pending.oldest.sequence == 1
    taken = pending.take(2)
    assert taken is not None
    assert taken.sequence == 2
    assert pending.take(2) is None
    assert pending.take(9) is None
    assert (len(pending), sequences(list(pending))) == (2, [1, 3])
    assert sequences(pending.take_all()) == [1, 3]
    assert (len(pending), pending.next_batch()) == (0, [])


def test_each_is_to_be_sent_once_and_waits_on() -> None:
    pending = Pending()
    pending.add(unit(1))
    assert sequences(pending.next_batch()) == [1]
    assert pending.next_batch() == []
    pending.add(unit(2))
    assert sequences(pending.next_batch()) == [2]
    assert len(pending) == 2


def test_a_batch_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_UNITS", 3)
    monkeypatch.setattr(module, "BATCH_BYTES", 100)
    pending = Pending()
    for sequence in range(1, 5):
        pending.add(unit(sequence))
    pending.add(unit(5, "x" * 200))
    pending.add(unit(6))
    batches = [sequences(pending.next_batch()) for _ in range(4)]
    assert batches == [[1, 2, 3], [4, 5], [6], []]


def test_what_waits_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 100)
    pending = Pending()
    pending.add(unit(1))
    assert not pending.is_full
    pending.add(unit(2))
    assert pending.is_full
    pending.take(1)
    pending.take(2)
    assert not pending.is_full
    pending.add(unit(3, "x" * 100))
    assert pending.is_full
    pending.take_all()
    assert not pending.is_full


def test_the_newest_is_retained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETAINED_UNITS", 4)
    monkeypatch.setattr(module, "_RETAINED_BYTES", 100)
    monkeypatch.setattr(module, "BATCH_UNITS", 3)
    retained = Retained()
    for sequence in range(1, 7):
        retained.add(Sent("a", sequence, "x"))
    batches = [[one.sequence for one in batch] for batch in retained.batches()]
    assert batches == [[3, 4, 5], [6]]
    retained.add(Sent("a", 7, "x" * 99))
    assert [[one.sequence for one in batch] for batch in retained.batches()] == [[6, 7]]


def test_the_first_that_is_retained_of_a_process_is_known() -> None:
    retained = Retained()
    for origin, sequence in (("b", 3), ("a", 8), ("a", 9)):
        retained.add(Sent(origin, sequence, "x"))
    assert (retained.first_of("a"), retained.first_of("b")) == (8, 3)
    assert retained.first_of("c") > 10**18
