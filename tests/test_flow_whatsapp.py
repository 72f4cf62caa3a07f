"""Meta's webhook over HTTP: who is let in, what is stored, and what agents see of it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog.testing
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.ioloop import IOLoop

from gtower_realtime.application import Application
from gtower_realtime.errors import StoreUnavailable
from gtower_realtime.http1.server import HttpServer
from gtower_realtime.records import WebhookReceived
from gtower_realtime.settings import Settings
from gtower_realtime.tokens import sign
from gtower_realtime.whatsapp.processing import MAX_AT_ONCE
from tests.conftest import ConnectClient, ConnectedClient
from tests.fakes import FakeStore
from tests.whatsapp_webhooks import (
    ENVIRON,
    NUMBER,
    OLD_SECRET,
    SAMPLE_NAMES,
    SECRET,
    SENT_AT_ON_THE_WIRE,
    VERIFY_TOKEN,
    StoreThatRefusesMarks,
    a_body,
    a_message,
    a_status,
    a_value,
    sample,
    signed,
)

pytestmark = pytest.mark.gen_test

MESSAGE_ID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA="
STATUS_ID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQUFERjg0NDEzNDdFODU3MUMxMAA="

Post = Callable[..., Awaitable[HTTPResponse]]


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(ENVIRON)


@pytest.fixture
def store(io_loop: IOLoop) -> StoreThatRefusesMarks:
    return StoreThatRefusesMarks()


@pytest.fixture
def application(io_loop: IOLoop, environ: dict[str, str], store: FakeStore) -> Application:
    return Application(Settings.load(environ), store=store)


@pytest.fixture
def post(http_server: HttpServer, base_url: str) -> Post:
    async def post(body: bytes, headers: dict[str, str] | None = None) -> HTTPResponse:
        return await AsyncHTTPClient().fetch(
            f"{base_url}/whatsapp/webhook",
            method="POST",
            body=body,
            headers=signed(body) if headers is None else headers,
            raise_error=False,
        )

    return post


@pytest.fixture
def get(http_server: HttpServer, base_url: str) -> Callable[..., Awaitable[HTTPResponse]]:
    async def get(**query: str) -> HTTPResponse:
        text = urlencode({f"hub.{name}": value for name, value in query.items()})
        return await AsyncHTTPClient().fetch(
            f"{base_url}/whatsapp/webhook?{text}", raise_error=False
        )

    return get


def outcome(answer: HTTPResponse) -> tuple[int, str]:
    """Return the status and code of a refusal."""
    return answer.code, json.loads(answer.body)["error"]["code"]


def stored(store: FakeStore) -> list[bytes]:
    """Return the bodies that were recorded."""
    return [
        change.webhook.body
        for commit in store.commits
        for change in commit
        if isinstance(change, WebhookReceived)
    ]


async def an_agent(connect_client: ConnectClient, *customers: str) -> ConnectedClient:
    """Connect an agent who follows all traffic and these customers."""
    agent = await connect_client()
    await agent.ask("joinWhatsAppGeneral")
    for customer in customers:
        await agent.ask("joinWhatsAppCustomer", customer)
    return agent


async def all_published(application: Application) -> None:
    """Wait until nothing is waiting in the inbox."""
    while application.metrics.registry.get_sample_value("gtower_whatsapp_waiting"):
        await application.journal.settled()


async def whatsapp_events_until_end(
    agent: ConnectedClient, application: Application
) -> list[tuple[str, Any]]:
    """Return what the agent has received of WhatsApp once all that was stored is published."""
    await all_published(application)
    await application.service.send_event_to_client(agent.id, "end", {})
    received = []
    while True:
        name, payload = await asyncio.wait_for(agent.events.get(), 20)
        if name == "end":
            return received
        if name in {"whatsappMessage", "whatsappMessageStatus"}:
            received.append((name, payload))


# The handshake


async def test_metas_handshake_is_answered_with_the_bare_challenge(get: Any) -> None:
    answer = await get(mode="subscribe", challenge="1158201444", verify_token=VERIFY_TOKEN)
    assert (answer.code, answer.body) == (200, b"1158201444")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"mode": "subscribe", "challenge": "1"},
        {"mode": "subscribe", "challenge": "1", "verify_token": "wrong"},
        {"mode": "subscribe", "challenge": "1", "verify_token": VERIFY_TOKEN + " "},
        {"mode": "unsubscribe", "challenge": "1", "verify_token": VERIFY_TOKEN},
        {"mode": "subscribe", "verify_token": VERIFY_TOKEN},
    ],
)
async def test_any_other_handshake_is_forbidden_and_tells_no_token(
    get: Any, query: dict[str, str]
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await get(**query)
    assert outcome(answer) == (403, "forbidden")
    assert b"token of ours" not in answer.body
    assert "token of ours" not in str(logged)


# Who is let in


async def test_a_signed_body_is_stored_as_it_is_and_answered(post: Post, store: FakeStore) -> None:
    body = b'{ "entry" : [ ] , "\\u00e9" : "\xc3\xa9" }'
    answer = await post(body)
    assert (answer.code, json.loads(answer.body)) == (200, {"success": True})
    assert stored(store) == [body]


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_while_secrets_are_rotated_each_of_them_is_good(
    post: Post, store: FakeStore, secret: str
) -> None:
    body = sample("message_text")
    assert (await post(body, signed(body, secret))).code == 200
    assert stored(store) == [body]


BODY = sample("message_text")
DIGEST = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": DIGEST},
        {"X-Hub-Signature-256": f"sha1={DIGEST}"},
        {"X-Hub-Signature-256": f"sha256={DIGEST[:-1]}"},
        {"X-Hub-Signature-256": f"sha256={DIGEST}0"},
        {"X-Hub-Signature-256": "sha256=ü"},
        {"X-Hub-Signature-256": signed(BODY + b" ")["X-Hub-Signature-256"]},
        {"X-Hub-Signature-256": signed(BODY, "another secret")["X-Hub-Signature-256"]},
        {"X-Hub-Signature": f"sha256={DIGEST}"},
        {"X-API-Key": SECRET},
    ],
)
async def test_without_the_right_signature_nothing_is_stored(
    post: Post, store: FakeStore, application: Application, headers: dict[str, str]
) -> None:
    answer = await post(BODY, headers)
    assert outcome(answer) == (401, "unauthorized")
    assert stored(store) == []
    value = application.metrics.registry.get_sample_value
    assert value("gtower_whatsapp_webhooks_total", {"outcome": "not_signed"}) == 1


async def test_a_body_of_three_megabytes_is_taken_and_more_is_not(
    post: Post, store: FakeStore
) -> None:
    largest = b'{"entry":[]' + b" " * (3 * 1024 * 1024 - 12) + b"}"
    assert (await post(largest)).code == 200
    assert outcome(await post(largest + b" ")) == (413, "too_large")
    assert stored(store) == [largest]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "crm.example.com"},
        {"Origin": "https://evil.example"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_only_the_signature_counts(
    post: Post, store: FakeStore, headers: dict[str, str]
) -> None:
    body = sample("message_text")
    assert (await post(body, signed(body) | headers)).code == 200
    assert stored(store) == [body]


class TestWithKeysAndOrigins:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {
            **ENVIRON,
            "GTOWER_API_KEYS": "crm:publish:a-key-of-the-back-end,ops:admin:a-key-of-the-operators",
            "CORS_ORIGIN": "https://crm.example.com",
        }

    async def test_meta_needs_no_key_and_no_origin(
        self, post: Post, get: Any, store: FakeStore
    ) -> None:
        body = sample("message_text")
        headers = signed(body) | {"Host": "crm.example.com", "Origin": "https://evil.example"}
        assert (await post(body, headers)).code == 200
        answer = await get(mode="subscribe", challenge="7", verify_token=VERIFY_TOKEN)
        assert (answer.code, answer.body) == (200, b"7")
        assert stored(store) == [body]

    @pytest.mark.parametrize(
        ("key", "status"),
        [(None, 401), ("a-key-of-the-back-end", 403), ("a-key-of-the-operators", 200)],
    )
    async def test_to_replay_takes_a_key_of_an_operator(
        self, base_url: str, http_server: HttpServer, key: str | None, status: int
    ) -> None:
        answer = await AsyncHTTPClient().fetch(
            f"{base_url}/whatsapp/replay",
            method="POST",
            body="{}",
            headers={"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {}),
            raise_error=False,
        )
        assert answer.code == status


class TestNotConfigured:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {}

    async def test_there_is_no_webhook(self, post: Post, get: Any, base_url: str) -> None:
        body = sample("message_text")
        for headers in (signed(body), {}):
            assert outcome(await post(body, headers)) == (404, "not_found")
        answer = await get(mode="subscribe", challenge="1", verify_token="")
        assert outcome(answer) == (404, "not_found")
        replayed = await AsyncHTTPClient().fetch(
            f"{base_url}/whatsapp/replay", method="POST", body="", raise_error=False
        )
        assert outcome(replayed) == (404, "not_found")


# What agents see

MESSAGE = {
    "conversationId": f"wa:106540352242922:{NUMBER}",
    "customerId": f"wa:{NUMBER}",
    "whatsappNumber": NUMBER,
    "whatsappMessageId": MESSAGE_ID,
    "senderType": "customer",
    "status": "delivered",
    "isTemplate": False,
    "templateName": "",
    "timestamp": SENT_AT_ON_THE_WIRE,
}
STATUS = {
    "messageId": STATUS_ID,
    "customerId": f"wa:{NUMBER}",
    "timestamp": "2025-06-15T23:27:53.000Z",
}
FAILURE = {
    "code": 131049,
    "title": "This message was not delivered to maintain healthy ecosystem engagement.",
    "error_data": {"details": "Not delivered to maintain healthy ecosystem engagement."},
}
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "message_button": ("whatsappMessage", {"messageType": "button", "content": "SIM"}),
    "message_image": ("whatsappMessage", {"messageType": "image", "content": "This one"}),
    "message_interactive": ("whatsappMessage", {"messageType": "interactive", "content": "Blue"}),
    "message_location": ("whatsappMessage", {"messageType": "location", "content": "Office"}),
    "message_reaction": ("whatsappMessage", {"messageType": "reaction", "content": "\U0001f44d"}),
    "message_text": (
        "whatsappMessage",
        {"messageType": "text", "content": "Does it come in another color?"},
    ),
    "message_unsupported": (
        "whatsappMessage",
        {
            "messageType": "unsupported",
            "content": "A message that WhatsApp does not pass on to businesses",
        },
    ),
    "status_delivered": ("whatsappMessageStatus", {"status": "delivered", "customerId": "c42"}),
    "status_failed": ("whatsappMessageStatus", {"status": "failed", "errors": [FAILURE]}),
    "status_read": ("whatsappMessageStatus", {"status": "read"}),
    "status_sent": ("whatsappMessageStatus", {"status": "sent"}),
}


def expected_event(name: str) -> tuple[str, dict[str, Any]]:
    """Return the event that the sample ``name`` leads to."""
    event, details = EXPECTED[name]
    if event == "whatsappMessageStatus":
        return event, STATUS | details
    value = json.loads(sample(name))["entry"][0]["changes"][0]["value"]
    metadata = {
        "message": value["messages"][0],
        "metadata": value["metadata"],
        "customerData": value["contacts"][0],
    }
    return event, MESSAGE | details | {"metadata": metadata}


def test_every_sample_has_an_expected_event() -> None:
    assert sorted(EXPECTED) == SAMPLE_NAMES


@pytest.mark.parametrize("name", SAMPLE_NAMES)
async def test_a_sample_is_exactly_its_event_once_however_often_it_is_posted(
    post: Post, connect_client: ConnectClient, application: Application, name: str
) -> None:
    agent = await an_agent(connect_client, f"wa:{NUMBER}", "c42")
    body = sample(name)
    for _ in range(3):
        assert (await post(body)).code == 200
    assert (await post(body, signed(body, OLD_SECRET))).code == 200
    assert await whatsapp_events_until_end(agent, application) == [expected_event(name)]


async def test_all_samples_of_a_message_in_any_order_lead_on_only(
    post: Post, connect_client: ConnectClient, application: Application
) -> None:
    agent = await an_agent(connect_client)
    for name in ("delivered", "sent", "read", "failed", "delivered", "sent"):
        assert (await post(sample(f"status_{name}"))).code == 200
    events = await whatsapp_events_until_end(agent, application)
    assert events == [expected_event("status_delivered"), expected_event("status_read")]


async def test_an_agent_in_both_rooms_gets_one_copy_and_one_of_another_customer_none(
    post: Post, connect_client: ConnectClient, application: Application
) -> None:
    both = await an_agent(connect_client, f"wa:{NUMBER}")
    of_customer, of_another = await connect_client(), await connect_client()
    await of_customer.ask("joinWhatsAppCustomer", f"wa:{NUMBER}")
    await of_another.ask("joinWhatsAppCustomer", "c43")
    await post(sample("message_text"))
    event = expected_event("message_text")
    assert await whatsapp_events_until_end(both, application) == [event]
    assert await whatsapp_events_until_end(of_customer, application) == [event]
    assert await whatsapp_events_until_end(of_another, application) == []


async def test_a_batch_of_several_entries_fields_and_kinds_comes_in_its_order(
    post: Post, connect_client: ConnectClient, application: Application
) -> None:
    agent = await an_agent(connect_client)
    mixed = a_value([a_message("m1"), a_message("m2")], [a_status("s1", "sent")])
    body = json.loads(a_body(mixed, a_value([a_message("m3")])))
    body["entry"][0]["changes"].insert(0, {"field": "account_update", "value": {"messages": [1]}})
    body["entry"].insert(1, {"changes": "?"})
    assert (await post(json.dumps(body).encode())).code == 200
    events = await whatsapp_events_until_end(agent, application)
    assert [
        payload.get("whatsappMessageId", payload.get("messageId")) for _, payload in events
    ] == [
        "m1",
        "m2",
        "s1",
        "m3",
    ]


async def test_a_thousand_updates_are_answered_before_any_is_worked_on(
    post: Post,
    connect_client: ConnectClient,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = await an_agent(connect_client)
    released = asyncio.Event()
    read_marks = application.journal.webhook_marks

    async def held(keys: Any) -> dict[str, str]:
        await released.wait()
        assert len(keys) <= MAX_AT_ONCE
        return await read_marks(keys)

    monkeypatch.setattr(application.journal, "webhook_marks", held)
    body = a_body(a_value([a_message(f"m{number}") for number in range(1000)]))
    assert (await post(body)).code == 200
    assert (await post(sample("message_text"))).code == 200
    value = application.metrics.registry.get_sample_value
    assert value("gtower_whatsapp_waiting") == 2
    released.set()
    events = await whatsapp_events_until_end(agent, application)
    ids = [payload["whatsappMessageId"] for _, payload in events]
    assert ids == [*(f"m{number}" for number in range(1000)), MESSAGE_ID]
    assert value("gtower_whatsapp_waiting") == 0
    assert value("gtower_whatsapp_updates_total", {"outcome": "message"}) == 1001


@pytest.mark.parametrize(
    "body", [b"", b"not JSON", b"[]", b"{}", b'{"entry":{}}', b"\xff", b'{"entry":[NaN]}']
)
async def test_what_is_signed_and_not_understood_is_stored_answered_and_logged_once(
    post: Post,
    connect_client: ConnectClient,
    application: Application,
    store: FakeStore,
    body: bytes,
) -> None:
    agent = await an_agent(connect_client)
    with structlog.testing.capture_logs() as logged:
        assert (await post(body)).code == 200
        assert (await post(sample("message_text"))).code == 200
        events = await whatsapp_events_until_end(agent, application)
    assert events == [expected_event("message_text")]
    assert stored(store) == [body, sample("message_text")]
    told = [entry for entry in logged if entry["event"] == "whatsapp_webhook_not_understood"]
    assert [entry["number"] for entry in told] == [1]


# A store that fails


async def test_what_could_not_be_stored_is_503_and_nobody_sees_it(
    post: Post, connect_client: ConnectClient, application: Application, store: FakeStore
) -> None:
    agent = await an_agent(connect_client)
    store.problem = StoreUnavailable("The disk is full.")
    refused = await post(sample("message_text"))
    assert outcome(refused) == (503, "store_unavailable")
    assert refused.headers["Retry-After"] == "1"
    store.problem = None
    assert (await post(sample("message_image"))).code == 200
    assert await whatsapp_events_until_end(agent, application) == [expected_event("message_image")]


async def test_what_was_stored_is_published_once_when_the_store_works_again(
    post: Post,
    connect_client: ConnectClient,
    application: Application,
    store: StoreThatRefusesMarks,
) -> None:
    agent = await an_agent(connect_client)
    store.refusals = 2
    body = a_body(a_value([a_message(f"m{number}") for number in range(5)]))
    with structlog.testing.capture_logs() as logged:
        assert (await post(body)).code == 200
        events = await whatsapp_events_until_end(agent, application)
    ids = [payload["whatsappMessageId"] for _, payload in events]
    assert ids == ["m0", "m1", "m2", "m3", "m4"]
    assert store.refusals == 0
    assert [entry["event"] for entry in logged].count("whatsapp_put_off") == 1


# Rights


class TestWithTokens:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {**ENVIRON, "GTOWER_JWT_SECRET": "s" * 32}

    async def test_an_agent_sees_the_customers_that_its_token_allows_and_no_others(
        self, post: Post, connect_client: ConnectClient, application: Application
    ) -> None:
        caps = [{"rooms": ["whatsapp:customer:c1"], "allow": ["join"]}]
        token = sign({"sub": "ann", "exp": 4_000_000_000, "caps": caps}, "s" * 32)
        agent = await connect_client(auth={"token": token})
        for event, argument in (
            ("joinWhatsAppGeneral", None),
            ("joinWhatsAppRoom", None),
            ("joinWhatsAppCustomer", "c2"),
            ("joinRoom", "whatsapp:general"),
            ("joinRoom", "whatsapp:customer:c2"),
        ):
            refused = await agent.ask(event, argument)
            assert (refused["ok"], refused["error"]["code"]) == (False, "forbidden")
        assert (await agent.ask("joinWhatsAppCustomer", "c1"))["ok"] is True
        of_c1, of_c2 = (
            a_status(f"of-{name}", "read", biz_opaque_callback_data=f"customer:{name}")
            for name in ("c1", "c2")
        )
        await post(a_body(a_value([a_message("m1")], [of_c2, of_c1])))
        ((_, payload),) = await whatsapp_events_until_end(agent, application)
        assert (payload["messageId"], payload["customerId"]) == ("of-c1", "c1")
