"""What is known of a message or status, and how it leads on; and who has signed a body."""

import pytest

from gtower_realtime.whatsapp import marks, statuses
from gtower_realtime.whatsapp.payloads import Message, Status
from gtower_realtime.whatsapp.signature import is_signed, sign
from tests.whatsapp_webhooks import a_message, a_status

ORDER = ("sent", "delivered", "read", "played")


def message(**details: str) -> Message:
    return Message(a_message("m1", **details), {}, {})


def status(word: str, message_id: str = "m1", **details: str) -> Status:
    return Status(a_status(message_id, word, **details))


@pytest.mark.parametrize("first", ORDER)
@pytest.mark.parametrize("second", ORDER)
def test_statuses_lead_on_in_their_order_and_may_be_skipped(first: str, second: str) -> None:
    assert statuses.leads_on(second, first) is (ORDER.index(second) > ORDER.index(first))


@pytest.mark.parametrize("word", [*ORDER, "failed"])
def test_the_first_status_is_news_and_nothing_follows_a_failure(word: str) -> None:
    assert statuses.leads_on(word, None)
    assert not statuses.leads_on(word, "failed")


def test_a_message_that_was_read_has_not_failed() -> None:
    assert [statuses.leads_on("failed", furthest) for furthest in ORDER] == [
        True,
        True,
        False,
        False,
    ]


def test_a_mark_is_set_for_what_identifies_an_update() -> None:
    keys = [
        marks.key_of(update)
        for update in (
            message(),
            status("sent"),
            status("sent", "m2"),
            status("sent", recipient_participant_id="p1"),
            status("warning"),
            status("deleted"),
            Message({"type": "text"}, {}, {}),
            Message({"type": "image"}, {}, {}),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {64}
    assert marks.key_of(status("read")) == marks.key_of(status("failed")) == keys[1]
    assert marks.key_of(message(text="another")) == keys[0]


def test_an_id_of_any_characters_makes_a_key_that_every_database_takes() -> None:
    assert marks.key_of(Message(a_message("\x00" * 100_000), {}, {})).isalnum()


def test_a_status_of_any_characters_is_no_part_of_a_mark() -> None:
    mark = marks.mark_of(status("\x00" * 100_000), 7, {})
    assert (len(mark.key), mark.value) == (64, "")
    assert marks.mark_of(status("read"), 7, {}).value == "read"


def test_an_update_is_news_until_it_is_marked() -> None:
    for update in (message(), status("sent"), status("warning")):
        assert marks.is_news(update, {})
        mark = marks.mark_of(update, 7, {})
        assert mark.at == 7
        assert not marks.is_news(update, {mark.key: mark.value})
        assert marks.is_repeat(update, {mark.key: mark.value})
    read = marks.mark_of(status("read"), 7, {})
    assert not marks.is_repeat(status("sent"), {read.key: read.value})


def test_a_body_is_signed_as_meta_documents_it() -> None:
    # RFC 4231, test case 2.
    signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign(b"what do ya want for nothing?", "Jefe") == signature
    assert is_signed(b"what do ya want for nothing?", signature, ["other", "Jefe"])
    assert not is_signed(b"what do ya want for nothing!", signature, ["other", "Jefe"])
    assert not is_signed(b"what do ya want for nothing?", signature, [])
    assert not is_signed(b"", None, ["Jefe"])
