"""What a customer's message says, for every type and whatever is missing from it."""

from typing import Any

import pytest

from gtower_realtime.whatsapp.contents import readable_content

UNREADABLE = "A message that WhatsApp does not pass on to businesses"


@pytest.mark.parametrize(
    ("kind", "part", "content"),
    [
        ("text", {"body": "Does it come in another color?"}, "Does it come in another color?"),
        ("text", {}, "An empty text"),
        ("text", {"body": " "}, "An empty text"),
        ("button", {"payload": "SIM", "text": "Yes"}, "SIM"),
        ("button", {"text": "Yes"}, "Yes"),
        ("button", {}, "A button"),
        ("interactive", {"button_reply": {"id": "b1", "title": "Yes"}}, "Yes"),
        ("interactive", {"list_reply": {"id": "r2", "title": "Blue"}}, "Blue"),
        ("interactive", {"nfm_reply": {"response_json": '{"a":1}', "body": "Sent"}}, '{"a":1}'),
        ("interactive", {"nfm_reply": {"body": "Sent"}}, "Sent"),
        ("interactive", {"button_reply": "?"}, "An answer"),
        ("image", {"caption": "This one"}, "This one"),
        ("image", {"id": "1"}, "image"),
        ("video", {"caption": "Look"}, "Look"),
        ("video", {}, "video"),
        ("document", {"caption": "The bill", "filename": "bill.pdf"}, "The bill"),
        ("document", {"filename": "bill.pdf"}, "bill.pdf"),
        ("document", {}, "document"),
        ("audio", {"voice": True}, "audio"),
        ("sticker", {"animated": True}, "sticker"),
        ("location", {"name": "Office", "latitude": 1, "longitude": 2}, "Office"),
        ("location", {"address": "Hacker Way 1", "latitude": 1, "longitude": 2}, "Hacker Way 1"),
        ("location", {"latitude": 37.44, "longitude": -122.16}, "37.44, -122.16"),
        ("location", {"latitude": 37.44}, "A location"),
        (
            "contacts",
            [
                {"name": {"formatted_name": "Ann Lee"}},
                {"name": {"first_name": "Bob"}},
                {"name": {}},
                7,
            ],
            "Ann Lee, Bob",
        ),
        ("contacts", {}, "Contacts"),
        ("reaction", {"message_id": "m", "emoji": "\U0001f44d"}, "\U0001f44d"),
        ("reaction", {"message_id": "m"}, "A reaction was taken back"),
        ("reaction", {"message_id": "m", "emoji": ""}, "A reaction was taken back"),
        ("order", {"product_items": [{}], "text": "Soon?"}, "An order of 1 product: Soon?"),
        ("order", {"product_items": [{}, {}]}, "An order of 2 products"),
        ("order", {}, "An order"),
        ("system", {"body": "Sheena changed her number"}, "Sheena changed her number"),
        ("system", {}, "A notice of WhatsApp"),
        ("unsupported", {}, UNREADABLE),
        ("unknown", None, UNREADABLE),
        ("hologram", {"body": "Hello"}, "Hello"),
        ("hologram", {"caption": "Look", "id": "1"}, "Look"),
        ("hologram", {"id": "1"}, "A message: hologram"),
        ("hologram", ["?"], "A message: hologram"),
    ],
)
def test_a_message_of_each_type_can_be_read(kind: str, part: Any, content: str) -> None:
    assert readable_content({"type": kind, kind: part}) == content


@pytest.mark.parametrize("kind", ["text", "button", "interactive", "location", "order", "system"])
@pytest.mark.parametrize("part", [None, 7, "text", [], [{}], {"body": 7, "text": [], "name": {}}])
def test_what_is_not_as_expected_is_still_a_line(kind: str, part: Any) -> None:
    assert readable_content({"type": kind, kind: part})
    assert readable_content({"type": kind})


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 7}, {"type": ""}])
def test_a_message_without_a_type_is_a_message(message: dict[str, Any]) -> None:
    assert readable_content(message) == "A message"
