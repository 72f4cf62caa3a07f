"""Units: what is kept by key with their changes, and what becomes of those who wait for them."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gtower_realtime.cluster.scripts import Keys
from gtower_realtime.cluster.units import Unit, kept_with
from gtower_realtime.errors import IdempotencyInFlight, Overloaded, StoreUnavailable
from gtower_realtime.records import (
    AnswerGiven,
    EventAppended,
    GivenAnswer,
    RoomLeft,
    SharedChange,
    WebhookMark,
    WebhookMarked,
)
from tests.stores import NOW, an_answer, an_event

KEYS = Keys("p:")


def kept(*changes: SharedChange, now: int = NOW) -> Any:
    return json.loads(kept_with(changes, KEYS, now))


def test_an_answer_to_an_event_is_the_first_or_none() -> None:
    answer = an_answer("k", expires_at=NOW + 5000)
    [[key, value, lifetime, rule]] = kept(EventAppended(an_event(0)), AnswerGiven(answer))
    assert (key, lifetime, rule) == ("p:answer:k", 5000, "!")
    assert GivenAnswer(**json.loads(value)) == answer


def test_an_answer_that_comes_by_itself_takes_the_place_of_the_one_before() -> None:
    [[key, _, _, rule]] = kept(AnswerGiven(an_answer("k")))
    assert (key, rule) == ("p:answer:k", "")


def test_an_answer_that_has_expired_is_kept_for_a_millisecond() -> None:
    # Redis refuses a lifetime that is not positive, and the whole unit with it.
    [[_, _, lifetime, _]] = kept(AnswerGiven(an_answer("k", expires_at=NOW - 1)))
    assert lifetime == 1


def test_a_first_mark_is_set_only_where_there_is_none() -> None:
    marked = WebhookMarked(WebhookMark("m", "sent", NOW))
    assert kept(marked) == [["p:mark:m", "sent", 691_200_000, "!"]]


def test_a_later_mark_takes_the_place_only_of_the_one_that_was_looked_at() -> None:
    marked = WebhookMarked(WebhookMark("m", "read", NOW, before="sent"))
    assert kept(marked) == [["p:mark:m", "read", 691_200_000, "=sent"]]


def test_nothing_else_is_kept_by_key() -> None:
    assert kept_with([EventAppended(an_event(0)), RoomLeft("c1", "sales", 0)], KEYS, NOW) == ""


def test_the_keys_of_a_cluster_have_its_prefix() -> None:
    assert (KEYS.log, KEYS.epoch, KEYS.nodes, KEYS.node_details) == (
        "p:log",
        "p:epoch",
        "p:nodes",
        "p:node-details",
    )
    assert KEYS.inbox("n") == "p:inbox:n"
    assert KEYS.session("c") == "p:session:c"


def unit(apply: Callable[[int], Any], changes: Sequence[SharedChange] = ()) -> Unit:
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Unit(1, changes, "", "", None, apply, outcome, 0.0)


@pytest.mark.gen_test
async def test_who_waits_is_told_what_applying_it_returns() -> None:
    one = unit(lambda number: ("applied", number))
    one.take_effect(7)
    assert await one.outcome == ("applied", 7)


@pytest.mark.gen_test
async def test_who_waits_is_told_of_a_fault_in_applying_it() -> None:
    one = unit(lambda number: 1 // (number - 7))
    one.take_effect(7)
    with pytest.raises(ZeroDivisionError):
        await one.outcome


@pytest.mark.gen_test
async def test_it_takes_effect_also_when_nobody_waits_any_more() -> None:
    applied: list[int] = []
    one = unit(applied.append)
    one.outcome.cancel()
    one.take_effect(7)
    one.fail(Overloaded("late"))
    assert applied == [7]
    assert one.outcome.cancelled()


@pytest.mark.gen_test
async def test_only_the_first_outcome_counts() -> None:
    one = unit(lambda number: number)
    one.fail(Overloaded("full"))
    one.fail(StoreUnavailable("away"))
    with pytest.raises(Overloaded, match="full"):
        await one.outcome


@pytest.mark.gen_test
async def test_a_refusal_says_what_somebody_else_has_done() -> None:
    answered = unit(lambda _: None, [EventAppended(an_event(0)), AnswerGiven(an_answer("k"))])
    marked = unit(lambda _: None, [WebhookMarked(WebhookMark("m", "sent", NOW))])
    assert isinstance(answered.refusal(), IdempotencyInFlight)
    refusal = marked.refusal()
    assert isinstance(refusal, StoreUnavailable)
    assert refusal.headers == {"Retry-After": "1"}
