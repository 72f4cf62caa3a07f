"""Rates, token buckets and connection limits, against models that count in fractions."""

from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtower_realtime.errors import Overloaded, RateLimited, RealtimeError
from gtower_realtime.limits import ConnectionLimits, Rate, TokenBucket

UNLIMITED = Rate(0.0, 0)

bounded = settings(derandomize=True, max_examples=100, deadline=None, database=None)

# Sixteenths of a second and powers of two are exact as floats, so the models may be exact too.
exact_rates = st.builds(Rate, st.sampled_from([0.5, 1.0, 2.0, 8.0]), st.integers(1, 4))
exact_pauses = st.integers(0, 64).map(lambda sixteenths: sixteenths / 16)


@pytest.mark.parametrize(
    ("text", "per_second", "burst"),
    [
        ("50/200", 50.0, 200),
        ("0.5/1", 0.5, 1),
        ("1/1", 1.0, 1),
        ("0", 0.0, 0),
        ("0/0", 0.0, 0),
    ],
)
def test_a_rate_is_read_from_text(text: str, per_second: float, burst: int) -> None:
    rate = Rate.parse(text)
    assert (rate.per_second, rate.burst) == (per_second, burst)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/",
        "/5",
        "fast",
        "-1/5",
        "1/-5",
        "1/5.5",
        "inf/5",
        "nan/5",
        "1e9/5",
        "5 / 5",
        "1/2/3",
        "5/5\n",
        "٥/٥",  # noqa: RUF001
        "0/5",
        "0.0/5",
        "5/0",
        f"{10**9}/1",
        f"1/{10**9}",
    ],
)
def test_a_rate_refuses_other_text_with_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="must be per second") as caught:
        Rate.parse(text)
    assert caught.value.args == ("must be per second/burst like 50/200, or 0 for no limit",)


def test_a_rate_of_zero_is_no_limit_and_every_other_is_one() -> None:
    assert Rate.parse("0").is_unlimited
    assert not Rate.parse("0.000001/1").is_unlimited


def test_a_bucket_allows_the_burst_and_then_one_each_interval() -> None:
    bucket = TokenBucket(Rate(2.0, 3))
    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(100.25) == 0.25
    assert [bucket.take(100.5), bucket.take(100.5)] == [0.0, 0.5]


def test_a_bucket_takes_nothing_from_who_is_told_to_wait() -> None:
    bucket = TokenBucket(Rate(1.0, 1))
    bucket.take(0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [1.0] * 5


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(Rate(100.0, 2))
    bucket.take(0.0)
    assert [bucket.take(10_000.0) > 0 for _ in range(3)] == [False, False, True]


def test_a_bucket_never_makes_anybody_wait_without_a_limit() -> None:
    bucket = TokenBucket(UNLIMITED)
    assert {bucket.take(0.0) for _ in range(1000)} == {0.0}
    assert bucket.is_full(0.0)


def test_a_bucket_gives_nothing_for_a_time_that_goes_back() -> None:
    bucket = TokenBucket(Rate(1.0, 1))
    bucket.take(10.0)
    assert bucket.take(9.0) == 2.0


def test_a_bucket_is_full_again_when_what_was_taken_has_come_back() -> None:
    bucket = TokenBucket(Rate(2.0, 5))
    bucket.take(0.0)
    bucket.take(0.0)
    assert [bucket.is_full(0.75), bucket.is_full(1.0)] == [False, True]


@bounded
@given(exact_rates, st.lists(exact_pauses, max_size=40))
def test_a_bucket_behaves_as_one_that_counts_tokens(rate: Rate, pauses: list[float]) -> None:
    bucket = TokenBucket(rate)
    model = ModelBucket(rate)
    now = 1000.0
    for pause in pauses:
        now += pause
        assert bucket.take(now) == model.take(now)


@bounded
@given(
    st.floats(0.001, 1e5),
    st.integers(1, 5),
    st.floats(0, 1e8),
    st.lists(st.floats(0, 5), max_size=30),
)
def test_waiting_exactly_as_long_as_asked_is_enough(
    per_second: float, burst: int, start: float, pauses: list[float]
) -> None:
    bucket = TokenBucket(Rate(per_second, burst))
    now = start
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0.0


class ModelBucket:
    """A bucket as textbooks have it: a number of tokens that grows with time."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = Fraction(rate.burst)
        self.seen_at: Fraction | None = None

    def take(self, now: float) -> float:
        moment = Fraction(now)
        if self.seen_at is not None:
            gained = (moment - self.seen_at) * Fraction(self.rate.per_second)
            self.tokens = min(Fraction(self.rate.burst), self.tokens + gained)
        self.seen_at = moment
        if self.tokens < 1:
            return float((1 - self.tokens) / Fraction(self.rate.per_second))
        self.tokens -= 1
        return 0.0


def refusal_of(
    limits: ConnectionLimits, address: str, now: float
) -> tuple[type[RealtimeError], str] | None:
    """Try to connect; return the refusal's class and ``Retry-After``, None when admitted."""
    try:
        limits.admit(address, now)
    except RealtimeError as refusal:
        return type(refusal), refusal.headers["Retry-After"]
    return None


def test_the_limits_count_the_connections_that_stand() -> None:
    limits = ConnectionLimits(10, 10, UNLIMITED)
    limits.admit("192.0.2.1", 0.0)
    limits.admit("192.0.2.1", 0.0)
    limits.admit("192.0.2.2", 0.0)
    assert limits.count == 3
    limits.release("192.0.2.1")
    assert limits.count == 2


def test_the_limits_refuse_with_503_when_all_connections_are_taken() -> None:
    limits = ConnectionLimits(2, 0, UNLIMITED)
    limits.admit("192.0.2.1", 0.0)
    limits.admit("192.0.2.2", 0.0)
    with pytest.raises(Overloaded) as caught:
        limits.admit("192.0.2.3", 0.0)
    assert (caught.value.http_status, caught.value.headers) == (503, {"Retry-After": "5"})
    assert limits.count == 2
    limits.release("192.0.2.1")
    limits.admit("192.0.2.3", 0.0)


def test_the_limits_refuse_with_429_when_the_address_has_too_many() -> None:
    limits = ConnectionLimits(0, 2, UNLIMITED)
    limits.admit("192.0.2.1", 0.0)
    limits.admit("192.0.2.1", 0.0)
    with pytest.raises(RateLimited) as caught:
        limits.admit("192.0.2.1", 0.0)
    assert (caught.value.http_status, caught.value.headers) == (429, {"Retry-After": "5"})
    limits.admit("192.0.2.2", 0.0)
    limits.release("192.0.2.1")
    limits.admit("192.0.2.1", 0.0)
    assert limits.count == 3


def test_the_limits_refuse_with_429_when_the_address_connects_too_fast() -> None:
    limits = ConnectionLimits(0, 0, Rate(0.25, 2))
    limits.admit("192.0.2.1", 0.0)
    limits.release("192.0.2.1")
    limits.admit("192.0.2.1", 0.0)
    with pytest.raises(RateLimited) as caught:
        limits.admit("192.0.2.1", 0.5)
    assert (caught.value.http_status, caught.value.headers) == (429, {"Retry-After": "4"})
    limits.admit("192.0.2.2", 0.5)
    limits.admit("192.0.2.1", 4.0)


def test_the_limits_refuse_with_429_while_the_address_is_penalised() -> None:
    limits = ConnectionLimits(0, 0, UNLIMITED)
    limits.penalise("192.0.2.1", 5.0, 100.0)
    with pytest.raises(RateLimited) as caught:
        limits.admit("192.0.2.1", 100.5)
    assert (caught.value.http_status, caught.value.headers) == (429, {"Retry-After": "5"})
    limits.admit("192.0.2.2", 100.5)
    limits.admit("192.0.2.1", 105.0)


def test_the_limits_keep_the_later_end_of_two_penalties() -> None:
    limits = ConnectionLimits(0, 0, UNLIMITED)
    limits.penalise("192.0.2.1", 60.0, 0.0)
    limits.penalise("192.0.2.1", 5.0, 10.0)
    assert refusal_of(limits, "192.0.2.1", 59.0) == (RateLimited, "1")
    assert refusal_of(limits, "192.0.2.1", 60.0) is None


def test_a_penalty_leaves_what_stands() -> None:
    limits = ConnectionLimits(0, 0, UNLIMITED)
    limits.admit("192.0.2.1", 0.0)
    limits.penalise("192.0.2.1", 5.0, 0.0)
    assert limits.count == 1
    limits.release("192.0.2.1")
    assert limits.count == 0


def test_a_refusal_does_not_count_towards_the_rate() -> None:
    limits = ConnectionLimits(0, 1, Rate(1.0, 2))
    limits.admit("192.0.2.1", 0.0)
    assert refusal_of(limits, "192.0.2.1", 0.0) == (RateLimited, "5")
    limits.release("192.0.2.1")
    assert refusal_of(limits, "192.0.2.1", 0.0) is None


def test_zeros_are_no_limit() -> None:
    limits = ConnectionLimits(0, 0, UNLIMITED)
    for _ in range(2000):
        limits.admit("192.0.2.1", 0.0)
    assert limits.count == 2000


def test_other_limits_hold_at_once_and_leave_what_stands() -> None:
    limits = ConnectionLimits(0, 0, Rate(1, 2))
    for _ in range(2):
        limits.admit("a", 0.0)
    limits.change(2, 0, Rate(1, 2))
    with pytest.raises(Overloaded):
        limits.admit("a", 0.0)
    limits.change(0, 0, Rate(1, 1))
    limits.admit("a", 0.0)
    with pytest.raises(RateLimited):
        limits.admit("a", 0.0)
    assert limits.count == 3


@pytest.mark.parametrize("admitted", [0, 1])
def test_giving_back_twice_is_noticed(admitted: int) -> None:
    limits = ConnectionLimits(0, 0, UNLIMITED)
    for _ in range(admitted):
        limits.admit("192.0.2.1", 0.0)
        limits.release("192.0.2.1")
    with pytest.raises(ValueError, match="not admitted"):
        limits.release("192.0.2.1")
    assert limits.count == 0


def test_the_limits_forget_addresses_that_make_no_difference_any_more() -> None:
    limits = ConnectionLimits(0, 0, Rate(1.0, 2))
    for number in range(10_000):
        limits.admit(f"connected and gone {number}", float(number))
        limits.release(f"connected and gone {number}")
        assert limits.remembered_addresses <= 1024


def test_the_limits_remember_addresses_that_still_do() -> None:
    limits = ConnectionLimits(0, 1, Rate(0.1, 1))
    limits.admit("connected", 0.0)
    limits.admit("just gone", 18.0)
    limits.release("just gone")
    limits.penalise("penalised", 60.0, 0.0)
    for number in range(1021):
        limits.penalise(f"long over {number}", 1.0, 0.0)
    limits.penalise("one more", 1.0, 20.0)
    assert limits.remembered_addresses == 4
    assert refusal_of(limits, "connected", 20.0) == (RateLimited, "5")
    assert refusal_of(limits, "just gone", 20.0) == (RateLimited, "8")
    assert refusal_of(limits, "penalised", 20.0) == (RateLimited, "40")


def test_the_limits_look_through_their_addresses_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def count_look(self: TokenBucket, now: float) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(TokenBucket, "is_full", count_look)
    limits = ConnectionLimits(0, 0, UNLIMITED)
    for number in range(5000):
        limits.penalise(f"kept {number}", 0.0, 0.0)
    assert looks == 1024 + 2048 + 4096


@bounded
@given(
    st.integers(0, 4),
    st.integers(0, 3),
    exact_rates,
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "release", "penalise"]),
            st.sampled_from("AB"),
            exact_pauses,
        ),
        max_size=60,
    ),
)
def test_the_limits_behave_as_plain_counting_does(
    max_connections: int,
    max_per_address: int,
    rate: Rate,
    steps: list[tuple[str, str, float]],
) -> None:
    limits = ConnectionLimits(max_connections, max_per_address, rate)
    connections: Counter[str] = Counter()
    buckets: defaultdict[str, ModelBucket] = defaultdict(lambda: ModelBucket(rate))
    refused_until: Counter[str] = Counter()
    now = 1000.0
    for step, address, pause in steps:
        now += pause
        if step == "penalise":
            limits.penalise(address, 1.0, now)
            refused_until[address] = max(refused_until[address], int((now + 1) * 16))
        elif step == "release" and connections[address]:
            limits.release(address)
            connections[address] -= 1
        elif step == "admit":
            expected: type[RealtimeError] | None = None
            if max_connections and connections.total() >= max_connections:
                expected = Overloaded
            elif (
                now * 16 < refused_until[address]
                or (max_per_address and connections[address] >= max_per_address)
                or buckets[address].take(now) > 0
            ):
                expected = RateLimited
            else:
                connections[address] += 1
            refusal = refusal_of(limits, address, now)
            assert (refusal and refusal[0]) == expected
        assert limits.count == connections.total()
