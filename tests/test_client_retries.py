"""One call's way through its tries, without a server: what is asked again, when, and the end."""

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from gtower_realtime.client import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    RealtimeClientError,
    RetryPolicy,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    Unauthorized,
    UnexpectedAnswer,
    UnknownClient,
    calls,
)
from gtower_realtime.client.calls import Call
from gtower_realtime.client.retries import Exchange

AT_ONCE = RetryPolicy(tries=3, first_delay=0.0)


def refusal(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx.Response:
    """Return an answer as the server gives it."""
    error: dict[str, Any] = {"code": code, "message": "No.", "retryable": retryable}
    body = {"success": False, "message": "No.", "error": error, "requestId": "r1"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=names)


def created() -> httpx.Response:
    body = {"success": True, "message": "Sent", "id": "e1", "recipients": 2, "pending": 0}
    return httpx.Response(201, json=body)


def exchange(call: Call[Any] | None = None, policy: RetryPolicy = AT_ONCE) -> Exchange[Any]:
    return Exchange(call or calls.send_event_to_room("sales", "tick", {"n": 1}), policy)


def problem_of(answer: httpx.Response | httpx.RequestError) -> RealtimeClientError:
    """Return what a call raises that has no more tries."""
    with pytest.raises(RealtimeClientError) as raised:
        exchange(policy=RetryPolicy(tries=1)).settle(answer)
    return raised.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "validation_error", InvalidRequest),
        (400, "reserved_event", InvalidRequest),
        (405, "method_not_allowed", InvalidRequest),
        (413, "too_large", InvalidRequest),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (404, "unknown_event_id", NotFound),
        (404, "unknown_client", UnknownClient),
        (409, "idempotency_in_flight", Conflict),
        (422, "idempotency_mismatch", Conflict),
        (429, "rate_limited", RateLimited),
        (500, "internal_error", ServerFailed),
        (503, "draining", ServerUnavailable),
        (503, "overloaded", ServerUnavailable),
        (503, "store_unavailable", ServerUnavailable),
    ],
)
def test_each_refusal_is_an_exception_of_its_own_kind(
    status: int, code: str, kind: type[RealtimeClientError]
) -> None:
    problem = problem_of(refusal(status, code))
    assert type(problem) is kind
    assert (problem.status, problem.code, problem.message) == (status, code, "No.")
    assert (problem.request_id, problem.retryable) == ("r1", False)
    assert str(problem) == f"{code}: No. (request r1)"


def test_a_refusal_tells_the_wrong_fields() -> None:
    fields = {"title": ["Missing data for required field."]}
    error = {"code": "validation_error", "message": "m", "retryable": False, "fields": fields}
    assert problem_of(httpx.Response(400, json={"error": error})).fields == fields


def test_what_may_pass_is_tried_again_until_it_does() -> None:
    one = exchange()
    assert one.settle(refusal(503, "overloaded", retryable=True)) == 0.0
    assert one.settle(refusal(429, "rate_limited", retryable=True)) == 0.0
    assert one.settle(created()) is None
    assert (one.result.id, one.result.recipients) == ("e1", 2)


def test_there_are_no_more_tries_than_the_policy_has() -> None:
    one = exchange()
    one.settle(refusal(503, "draining", retryable=True))
    one.settle(refusal(503, "draining", retryable=True))
    with pytest.raises(ServerUnavailable):
        one.settle(refusal(503, "draining", retryable=True))


def test_what_will_not_pass_is_not_tried_again() -> None:
    with pytest.raises(InvalidRequest):
        exchange().settle(refusal(400, "validation_error"))


def test_no_answer_is_tried_again_and_may_be_repeated_with_the_key_in_the_end() -> None:
    one = exchange(calls.broadcast_event("tick", idempotency_key="k1"))
    assert one.settle(httpx.ReadError("cut")) == 0.0
    assert one.settle(httpx.ReadTimeout("")) == 0.0
    with pytest.raises(ServerUnreachable) as raised:
        one.settle(httpx.ReadTimeout(""))
    assert (raised.value.code, raised.value.status) == ("timeout", None)
    assert (raised.value.retryable, raised.value.idempotency_key) == (True, "k1")
    assert isinstance(raised.value.__cause__, httpx.ReadTimeout)


def test_a_disconnect_that_may_have_happened_is_not_repeated() -> None:
    one = exchange(calls.disconnect_client("c1"))
    assert one.settle(httpx.ConnectError("refused")) == 0.0
    assert one.settle(refusal(503, "store_unavailable", retryable=True)) == 0.0
    for answer in (httpx.ReadError("cut"), refusal(500, "internal_error", retryable=True)):
        with pytest.raises(RealtimeClientError):
            exchange(calls.disconnect_client("c1")).settle(answer)


def test_the_time_that_the_server_asks_for_is_waited() -> None:
    policy = RetryPolicy(first_delay=0.0)
    asked = refusal(429, "rate_limited", retryable=True, Retry_After="7")
    assert exchange(policy=policy).settle(asked) == 7.0
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    asked = refusal(503, "draining", retryable=True, Retry_After=later)
    delay = exchange(policy=policy).settle(asked)
    assert delay is not None
    assert 0 < delay <= 20


def test_who_is_asked_to_wait_for_too_long_is_told_at_once() -> None:
    answer = refusal(429, "rate_limited", retryable=True, Retry_After="31")
    with pytest.raises(RateLimited) as raised:
        exchange().settle(answer)
    assert raised.value.retry_after == 31.0


def test_delays_grow_up_to_a_limit_and_differ() -> None:
    policy = RetryPolicy(first_delay=1.0, longest_delay=4.0)
    for tries, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 4.0), (2000, 4.0)):
        delays = [policy.delay(tries, None) for _ in range(200)]
        assert all(0.0 <= delay <= longest for delay in delays)
        assert max(delays) > longest / 2
    assert policy.delay(1, 10.0) >= 10.0


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first_delay": -1.0}])
def test_a_policy_that_cannot_be_kept_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        RetryPolicy(**wrong)


def test_the_answer_of_a_proxy_is_told_apart_and_tried_again_if_it_may_pass() -> None:
    bad_gateway = httpx.Response(502, text="<h1>Bad Gateway</h1>")
    assert exchange().settle(bad_gateway) == 0.0
    problem = problem_of(bad_gateway)
    assert isinstance(problem, UnexpectedAnswer)
    assert (problem.code, problem.status, problem.retryable) == ("http_502", 502, True)


def test_a_redirect_is_not_followed_and_says_where_to() -> None:
    moved = httpx.Response(301, headers={"Location": "https://rt.example.com/"})
    assert "it leads to https://rt.example.com/" in problem_of(moved).message


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '"ok"'])
def test_a_success_that_is_not_the_servers_is_no_success(body: str) -> None:
    problem = problem_of(httpx.Response(200, text=body))
    assert isinstance(problem, UnexpectedAnswer)
    assert (problem.status, problem.retryable) == (200, False)


def test_a_problem_survives_a_task_queue() -> None:
    problem = problem_of(refusal(429, "rate_limited", retryable=True, Retry_After="2"))
    copy = pickle.loads(pickle.dumps(problem))
    assert type(copy) is RateLimited
    assert str(copy) == "rate_limited: No. (request r1)"
    assert (copy.status, copy.retryable, copy.retry_after) == (429, True, 2.0)
    assert copy.idempotency_key == problem.idempotency_key
