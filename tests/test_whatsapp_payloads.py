"""What is found in the body of a webhook, whatever else is in it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gtower_realtime.whatsapp.events import event_of
from gtower_realtime.whatsapp.payloads import Message, Status, read_updates
from tests.whatsapp_webhooks import (
    NUMBER,
    SENT_AT_ON_THE_WIRE,
    a_body,
    a_message,
    a_status,
    a_value,
    sample,
)

NOW = datetime(2026, 11, 23, 12, 28, 18, 953_000, UTC)


def only_update(body: bytes) -> Any:
    (update,) = read_updates(body)
    return update


def only_message(**value: Any) -> Message:
    update = only_update(a_body({**a_value([a_message("m1")]), **value}))
    assert isinstance(update, Message)
    return update


def test_updates_come_in_the_order_in_which_they_stand() -> None:
    first = a_value([a_message("m1"), a_message("m2")], [a_status("s1", "sent")])
    second = a_value((), [a_status("s1", "read"), a_status("s2", "failed")])
    body = json.loads(a_body(first, second))
    body["entry"][0]["changes"].append({"field": "messages", "value": a_value([a_message("m3")])})
    updates = read_updates(json.dumps(body).encode())
    assert [update.id for update in updates] == ["m1", "m2", "s1", "m3", "s1", "s2"]


def test_other_fields_and_what_is_not_as_expected_are_passed_over() -> None:
    value: dict[str, Any] = {
        **a_value([a_message("m1")]),
        "messages": [None, "?", a_message("m1"), []],
        "statuses": [7, {}, {"id": "s1"}, {"status": "sent"}, {"id": 1, "status": "sent"}],
        "contacts": "?",
        "metadata": ["?"],
        "errors": [{"code": 1}],
    }
    assert [update.id for update in read_updates(a_body(value))] == ["m1"]
    assert read_updates(a_body(value, field="message_template_status_update")) == []
    for entry in ("?", 7, {}, {"changes": "?"}, {"changes": [7, {"field": "messages"}]}):
        assert read_updates(json.dumps({"entry": [entry]}).encode()) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"{}", b'{"entry":7}', b'{"entry":[1e999]}']
)
def test_what_is_no_webhook_is_told(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is that of the parser
        read_updates(body)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\uDC4D cut", "\ufffd cut"),
        (rb"\ud83d\ud83d\udc4d", "\ufffd\U0001f44d"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\ud83d\n\"", '\ufffd\n"'),
        (rb"\ud83d\u00e9", "\ufffdé"),
    ],
)
def test_half_an_emoji_does_not_cost_what_is_beside_it(escaped: bytes, text: str) -> None:
    body = a_body(a_value([a_message("m1", "TEXT"), a_message("m2")]))
    first, second = read_updates(body.replace(b"TEXT", escaped))
    assert isinstance(first, Message)
    assert (first.message["text"]["body"], second.id) == (text, "m2")


def test_a_customer_is_known_by_number_or_by_what_whatsapp_calls_one_without() -> None:
    assert only_message().number == NUMBER
    assert only_message().contact["wa_id"] == NUMBER
    of_another = [{"wa_id": "1"}, {"wa_id": NUMBER, "profile": {"name": "S"}}]
    assert only_message(contacts=of_another).contact == of_another[1]
    assert only_message(contacts=of_another[:1]).contact == {}
    without = {key: text for key, text in a_message("m1").items() if key != "from"}
    assert only_message(messages=[without]).number == NUMBER
    assert only_message(messages=[without], contacts=of_another).number == ""
    assert only_message(messages=[without], contacts=[{"user_id": "US.1"}]).number == "US.1"
    named = without | {"from_user_id": "US.2"}
    assert only_message(messages=[named], contacts=[]).number == "US.2"
    status = a_status("s1", "sent") | {"recipient_id": None, "recipient_user_id": "US.3"}
    assert only_update(a_body(a_value((), [status]))).number == "US.3"


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1749416383", SENT_AT_ON_THE_WIRE),
        (1749416383, SENT_AT_ON_THE_WIRE),
        ("0", "1970-01-01T00:00:00.000Z"),
        ("253402300799", "9999-12-31T23:59:59.000Z"),
        ("253402300800", "2026-11-23T12:28:18.953Z"),
        ("9" * 400, "2026-11-23T12:28:18.953Z"),
        ("-1", "2026-11-23T12:28:18.953Z"),
        ("\u0661", "2026-11-23T12:28:18.953Z"),
        ("", "2026-11-23T12:28:18.953Z"),
        (None, "2026-11-23T12:28:18.953Z"),
        (True, "2026-11-23T12:28:18.953Z"),
    ],
)
def test_the_time_is_metas_and_else_that_of_the_webhook(timestamp: Any, expected: str) -> None:
    message = only_message(messages=[a_message("m1", timestamp=timestamp)])
    assert event_of(message, "c1", NOW)[1]["timestamp"] == expected
    status = Status(a_status("s1", "sent", timestamp=timestamp))
    assert event_of(status, "c1", NOW)[1]["timestamp"] == expected


def test_a_message_that_lacks_everything_is_told_all_the_same() -> None:
    message = only_update(a_body({"messages": [{}]}))
    assert event_of(message, "wa:unknown", NOW) == (
        "whatsappMessage",
        {
            "conversationId": "wa::",
            "customerId": "wa:unknown",
            "whatsappNumber": "",
            "whatsappMessageId": "",
            "senderType": "customer",
            "messageType": "",
            "content": "A message",
            "status": "delivered",
            "metadata": {"message": {}, "metadata": {}, "customerData": {}},
            "isTemplate": False,
            "templateName": "",
            "timestamp": "2026-11-23T12:28:18.953Z",
        },
    )


def test_errors_are_told_only_where_there_are_some() -> None:
    assert "errors" in event_of(only_update(sample("status_failed")), "c1", NOW)[1]
    for errors in ([], None, "?"):
        status = Status(a_status("s1", "failed", errors=errors))
        assert "errors" not in event_of(status, "c1", NOW)[1]
