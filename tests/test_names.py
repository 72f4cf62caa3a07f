"""What may be a name, and which rooms belong to the server."""

import pytest

from gtower_realtime.names import (
    MAX_CUSTOMER_ID,
    MAX_ROOM_NAME,
    PROTOCOL_EVENTS,
    is_user_room,
    problem_with_name,
    user_room,
    whatsapp_customer_room,
)


@pytest.mark.parametrize(
    "name",
    ["a", "0", " ", "sales & support", "whatsapp:customer:c42", "ä€😀", "__proto__", "a" * 200],
)
def test_any_printable_text_within_the_length_is_a_name(name: str) -> None:
    assert problem_with_name(name, 200) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "must not be empty"),
        ("a" * 201, "must have at most 200 characters"),
        ("😀" * 201, "must have at most 200 characters"),
        ("\x00" * 1_000_000, "must have at most 200 characters"),
        ("a\x00b", "must not have control characters"),
        ("a\n", "must not have control characters"),
        ("\x1f", "must not have control characters"),
        ("\x7f", "must not have control characters"),
        ("\x85", "must not have control characters"),
        ("\x9f", "must not have control characters"),
        ("\ud800", "must not have control characters"),
        ("a\udfffb", "must not have control characters"),
    ],
)
def test_anything_else_is_told_what_is_wrong(name: str, problem: str) -> None:
    assert problem_with_name(name, 200) == problem


def test_the_names_around_control_characters_are_free() -> None:
    assert problem_with_name("\x20\x7e\xa0\ud7ff\ue000", 200) is None


def test_the_longest_customer_id_makes_a_room_name_that_is_not_too_long() -> None:
    assert whatsapp_customer_room("c42") == "whatsapp:customer:c42"
    assert problem_with_name(whatsapp_customer_room("c" * MAX_CUSTOMER_ID), MAX_ROOM_NAME) is None


@pytest.mark.parametrize(
    ("room", "belongs_to_a_user"),
    [
        (user_room("u1"), True),
        ("user:u1", True),
        ("user:", True),
        ("user", False),
        ("users:u1", False),
        ("User:u1", False),
        ("my user:u1", False),
    ],
)
def test_rooms_of_users_are_known_by_their_prefix(room: str, belongs_to_a_user: bool) -> None:
    assert is_user_room(room) is belongs_to_a_user


def test_the_names_that_socket_io_speaks_with_are_the_six_of_its_parser() -> None:
    assert sorted(PROTOCOL_EVENTS) == [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    ]
