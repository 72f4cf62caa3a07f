"""Keys that an issuer publishes: when they are fetched, what is taken of them, what goes wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from gtower_realtime.errors import Overloaded
from gtower_realtime.key_sets import KeySet, fetch_over_http, read_key_set
from gtower_realtime.tokens import TokenVerifier, VerificationKey
from tests.fakes import NOW, FakeClock

pytestmark = pytest.mark.gen_test

URL = "https://id.example/keys.json"


@cache
def private_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def jwk_of(name: str, **more: Any) -> dict[str, Any]:
    """Return the public half of a key as a JSON Web Key whose ``kid`` is its name."""
    public_key = private_key(name).public_key()
    jwk: dict[str, Any] = jwt.get_algorithm_by_name("EdDSA").to_jwk(public_key, as_dict=True)
    return jwk | {"kid": name} | more


def key_set_of(*names: str) -> bytes:
    return json.dumps({"keys": [jwk_of(name) for name in names]}).encode()


class FakeIssuer:
    """What answers for a URL: with ``answer``, or its failure, once it is let."""

    def __init__(self, *names: str) -> None:
        self.answer: bytes | Exception = key_set_of(*names)
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    def publish(self, *names: str) -> None:
        self.answer = key_set_of(*names)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        await self.let.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer(io_loop: IOLoop) -> FakeIssuer:
    """An issuer with the keys a and b."""
    return FakeIssuer("a", "b")


@pytest.fixture
def keys(issuer: FakeIssuer, clock: FakeClock) -> KeySet:
    return KeySet(URL, clock, issuer.fetch)


async def found(keys: KeySet, key_id: str | None) -> str | None:
    """Return the id of the key that is found, None when there is none."""
    key = await keys.find("EdDSA", key_id)
    return None if key is None else key.key_id


# When keys are fetched


async def test_keys_are_fetched_by_the_first_who_asks_and_kept(
    keys: KeySet, issuer: FakeIssuer
) -> None:
    assert not keys.is_loaded
    assert [await found(keys, name) for name in "abba"] == ["a", "b", "b", "a"]
    assert keys.is_loaded
    assert issuer.asked == [URL]


async def test_keys_can_be_fetched_beforehand(keys: KeySet, issuer: FakeIssuer) -> None:
    assert await keys.refresh()
    assert await found(keys, "a") == "a"
    assert len(issuer.asked) == 1


async def test_all_who_ask_at_once_share_one_fetch(keys: KeySet, issuer: FakeIssuer) -> None:
    issuer.let.clear()
    asking = [asyncio.ensure_future(found(keys, name)) for name in "abab"]
    await asyncio.sleep(0)
    issuer.let.set()
    assert await asyncio.gather(*asking) == ["a", "b", "a", "b"]
    assert len(issuer.asked) == 1


async def test_who_gives_up_waiting_does_not_take_the_keys_from_the_others(
    keys: KeySet, issuer: FakeIssuer
) -> None:
    issuer.let.clear()
    first, second = (asyncio.ensure_future(found(keys, "a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    issuer.let.set()
    assert await second == "a"
    assert first.cancelled()


async def test_an_unknown_key_is_looked_for_anew(keys: KeySet, issuer: FakeIssuer) -> None:
    await found(keys, "a")
    issuer.publish("b", "c")
    assert await found(keys, "c") == "c"
    assert len(issuer.asked) == 2


async def test_a_key_that_was_looked_for_and_is_not_there_is_none(
    keys: KeySet, issuer: FakeIssuer
) -> None:
    assert await found(keys, "z") is None
    assert await found(keys, "z") is None
    assert len(issuer.asked) == 2


async def test_unknown_keys_make_the_server_ask_three_times_at_once_and_once_in_20_seconds(
    keys: KeySet, issuer: FakeIssuer, clock: FakeClock
) -> None:
    for number in range(3):
        assert await found(keys, f"z{number}") is None
    for number in range(50):
        with pytest.raises(Overloaded) as caught:
            await found(keys, f"z{number}")
        refusal = caught.value
        assert (refusal.http_status, refusal.code, refusal.retryable, refusal.headers) == (
            503,
            "overloaded",
            True,
            {"Retry-After": "5"},
        )
    assert len(issuer.asked) == 3
    assert await found(keys, "a") == "a"
    clock.advance(20)
    assert await found(keys, "z") is None
    assert len(issuer.asked) == 4


async def test_who_waits_for_a_fetch_of_others_does_not_count(
    keys: KeySet, issuer: FakeIssuer
) -> None:
    issuer.let.clear()
    asking = [asyncio.ensure_future(found(keys, f"z{number}")) for number in range(9)]
    await asyncio.sleep(0)
    issuer.let.set()
    assert await asyncio.gather(*asking) == [None] * 9
    assert len(issuer.asked) == 1


async def test_keys_are_asked_for_again_when_they_are_ten_minutes_old(
    keys: KeySet, issuer: FakeIssuer, clock: FakeClock
) -> None:
    await found(keys, "a")
    issuer.publish("b")
    clock.advance(599)
    assert await found(keys, "a") == "a"
    clock.advance(1)
    assert await found(keys, "a") is None
    assert await found(keys, "b") == "b"


@pytest.mark.parametrize(
    "answer",
    [
        OSError("connection refused"),
        b"",
        b"<html>",
        b"[]",
        b"[1]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1e999]}',
        b'{"keys":' + b"[" * 2000 + b"]" * 2000 + b"}",
        json.dumps({"keys": [{}] * 101}).encode(),
    ],
)
async def test_the_old_keys_stay_good_while_there_are_no_new_ones(
    keys: KeySet,
    issuer: FakeIssuer,
    clock: FakeClock,
    answer: bytes | Exception,
) -> None:
    await found(keys, "a")
    issuer.answer = answer
    clock.advance(86_400)
    with structlog.testing.capture_logs() as logged:
        assert [await found(keys, name) for name in "ab"] == ["a", "b"]
    assert len(issuer.asked) == 3
    assert [(line["log_level"], line["event"]) for line in logged] == [
        ("warning", "key_set_not_fetched"),
        ("warning", "key_set_not_fetched"),
    ]
    issuer.publish("b")
    assert await found(keys, "a") is None


async def test_whether_there_is_a_key_cannot_be_known_before_any_was_fetched(
    keys: KeySet, issuer: FakeIssuer
) -> None:
    issuer.answer = OSError("connection refused")
    assert not await keys.refresh()
    with pytest.raises(Overloaded):
        await found(keys, "a")
    assert not keys.is_loaded
    issuer.publish("a")
    assert await found(keys, "a") == "a"


# Which key is found


async def test_a_token_without_a_key_id_has_the_only_key_or_none(
    issuer: FakeIssuer, clock: FakeClock
) -> None:
    issuer.publish("a")
    assert await found(KeySet(URL, clock, issuer.fetch), None) == "a"
    issuer.publish("a", "b")
    assert await found(KeySet(URL, clock, issuer.fetch), None) is None
    assert len(issuer.asked) == 2


async def test_two_keys_with_the_same_id_are_none(keys: KeySet, issuer: FakeIssuer) -> None:
    issuer.publish("a", "a")
    assert await found(keys, "a") is None


async def test_a_key_without_an_id_is_not_found_by_one(keys: KeySet, issuer: FakeIssuer) -> None:
    jwk = jwk_of("a")
    del jwk["kid"]
    issuer.answer = json.dumps({"keys": [jwk]}).encode()
    assert await keys.find("EdDSA", "a") is None
    assert await keys.find("EdDSA", None) is not None


@pytest.mark.parametrize("algorithm", ["HS256", "none", "RS512", "ES384", "eddsa", ""])
async def test_no_algorithm_but_those_of_public_keys_makes_the_server_ask(
    keys: KeySet, issuer: FakeIssuer, algorithm: str
) -> None:
    assert await keys.find(algorithm, "a") is None
    assert issuer.asked == []


async def test_a_key_is_found_for_its_own_algorithm_only(keys: KeySet) -> None:
    assert await keys.find("RS256", "a") is None
    assert await keys.find("ES256", "a") is None


async def test_tokens_are_checked_with_the_keys_of_the_set(keys: KeySet, clock: FakeClock) -> None:
    claims = {"sub": "u1", "exp": int(NOW.timestamp()) + 60}
    token = jwt.encode(claims, private_key("b"), "EdDSA", {"kid": "b"})
    assert (await TokenVerifier(keys, clock).verify(token)).user_id == "u1"


# What is taken of a set


def ids_of(keys: tuple[VerificationKey, ...]) -> list[str | None]:
    return [key.key_id for key in keys]


async def test_what_tokens_cannot_be_checked_with_is_passed_over() -> None:
    entries = [None, {}, {"kty": "oct", "k": "c2VjcmV0"}, jwk_of("a", use="enc"), jwk_of("b")]
    assert ids_of(read_key_set(json.dumps({"keys": entries}).encode())) == ["b"]


async def test_a_set_may_be_empty_and_withdraw_all(keys: KeySet, issuer: FakeIssuer) -> None:
    issuer.answer = b'{"keys":[]}'
    assert await keys.refresh()
    assert await found(keys, "a") is None


async def test_a_set_has_at_most_a_hundred_keys() -> None:
    assert read_key_set(json.dumps({"keys": [{}] * 99 + [jwk_of("a")]}).encode())
    with pytest.raises(ValueError, match=r"^the answer has more than 100 keys$"):
        read_key_set(json.dumps({"keys": [{}] * 100 + [jwk_of("a")]}).encode())


# Where keys may come from


@pytest.mark.parametrize(
    "url", [URL, "http://localhost/k", "http://127.0.0.1:8080/k", "http://[::1]/k"]
)
async def test_keys_come_over_https_or_from_this_machine(url: str, clock: FakeClock) -> None:
    KeySet(url, clock)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys.json",
        "http://localhost.example/k",
        "http://10.0.0.1/k",
        "file:///etc/passwd",
        "ftp://id.example/k",
        "id.example",
        "",
    ],
)
async def test_keys_come_from_nowhere_else(url: str, clock: FakeClock) -> None:
    with pytest.raises(ValueError, match=r"^must be a URL that begins with https://"):
        KeySet(url, clock)


# Over a real socket


Answer = Callable[[RequestHandler], Awaitable[None]]


class IssuerHandler(RequestHandler):
    """Answers as the test says."""

    def initialize(self, answer: Answer) -> None:
        self._answer = answer

    async def get(self) -> None:
        await self._answer(self)


Serve = Callable[[Answer], str]


@pytest.fixture
def serve(io_loop: IOLoop) -> Iterator[Serve]:
    """Give a function that serves an answer and returns its URL."""
    servers = []

    def start(answer: Answer) -> str:
        socket, port = bind_unused_port()
        server = HTTPServer(Application([("/keys.json", IssuerHandler, {"answer": answer})]))
        server.add_socket(socket)
        servers.append(server)
        return f"http://127.0.0.1:{port}/keys.json"

    yield start
    for server in servers:
        server.stop()
        io_loop.run_sync(server.close_all_connections)


async def test_keys_are_fetched_over_http(serve: Serve, clock: FakeClock) -> None:
    accepted = []

    async def answer(handler: RequestHandler) -> None:
        accepted.append(handler.request.headers["Accept"])
        handler.finish(key_set_of("a"))

    assert await found(KeySet(serve(answer), clock), "a") == "a"
    assert accepted == ["application/json"]


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
async def test_anything_but_success_is_a_failure_and_redirects_are_not_followed(
    serve: Serve, status: int
) -> None:
    followed = []

    async def elsewhere(handler: RequestHandler) -> None:
        followed.append(handler.request.path)
        handler.finish(key_set_of("a"))

    target = serve(elsewhere)

    async def answer(handler: RequestHandler) -> None:
        handler.set_status(status)
        handler.set_header("Location", target)
        handler.finish(key_set_of("a"))

    with pytest.raises(OSError, match=f"^HTTP {status}: "):
        await fetch_over_http(serve(answer))
    assert followed == []


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_at_most_256_kb_are_read(serve: Serve, is_chunked: bool) -> None:
    size = 256 * 1024

    async def answer(handler: RequestHandler) -> None:
        handler.write(b"x" * size)
        if is_chunked:
            await handler.flush()

    url = serve(answer)
    assert len(await fetch_over_http(url)) == size
    size += 1
    with pytest.raises(OSError, match=r"^Connection closed$"):
        await fetch_over_http(url)


async def test_nothing_is_unpacked(serve: Serve) -> None:
    asked = []

    async def answer(handler: RequestHandler) -> None:
        asked.append(handler.request.headers.get("Accept-Encoding"))
        handler.set_header("Content-Encoding", "gzip")
        handler.finish(b"packed")

    assert await fetch_over_http(serve(answer)) == b"packed"
    assert asked == [None]


@pytest.mark.parametrize("part", [b"", b"x"])
async def test_an_issuer_that_does_not_finish_in_time_is_a_failure(
    serve: Serve, io_loop: IOLoop, part: bytes
) -> None:
    never = asyncio.Event()

    async def answer(handler: RequestHandler) -> None:
        if part:
            handler.write(part)
            await handler.flush()
        await never.wait()

    with pytest.raises(OSError, match=r"^Timeout"):
        await fetch_over_http(serve(answer), timeout_seconds=0.1)
    never.set()


async def test_an_issuer_that_is_not_there_is_a_failure(io_loop: IOLoop) -> None:
    socket, port = bind_unused_port()
    socket.close()
    with pytest.raises(OSError, match="refused"):
        await fetch_over_http(f"http://127.0.0.1:{port}/keys.json")
