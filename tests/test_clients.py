"""The list of who is connected, and paging through it while clients come and go."""

import pytest

from gtower_realtime.clients import ClientRegistry
from tests.fakes import a_client


def a_registry(*client_ids: str) -> ClientRegistry:
    registry = ClientRegistry()
    for client_id in client_ids:
        registry.add(a_client(client_id))
    return registry


def page(registry: ClientRegistry, after: str | None, limit: int | None) -> list[str] | None:
    """Return the ids on a page."""
    clients = registry.page(after, limit)
    return None if clients is None else [client.id for client in clients]


def test_a_client_is_listed_while_it_is_connected() -> None:
    registry = a_registry("c1", "c2")
    assert ("c1" in registry, len(registry)) == (True, 2)
    assert registry.get("c1") == a_client("c1")
    assert registry.remove("c1") == a_client("c1")
    assert ("c1" in registry, len(registry), registry.get("c1")) == (False, 1, None)


def test_removing_who_is_not_there_returns_nothing() -> None:
    registry = a_registry("c1")
    registry.remove("c1")
    assert registry.remove("c1") is None
    assert registry.remove("never") is None
    assert len(registry) == 0


def test_clients_are_listed_in_the_order_of_connecting() -> None:
    registry = a_registry("c2", "c1", "c3")
    registry.remove("c1")
    registry.add(a_client("c1"))
    assert [client.id for client in registry] == ["c2", "c3", "c1"]


@pytest.mark.parametrize(
    ("after", "limit", "ids"),
    [
        (None, None, ["c1", "c2", "c3", "c4"]),
        (None, 2, ["c1", "c2"]),
        (None, 9, ["c1", "c2", "c3", "c4"]),
        ("c1", 2, ["c2", "c3"]),
        ("c3", 2, ["c4"]),
        ("c3", None, ["c4"]),
        ("c4", 2, []),
    ],
)
def test_a_page_goes_on_after_the_client_seen_last(
    after: str | None, limit: int | None, ids: list[str]
) -> None:
    assert page(a_registry("c1", "c2", "c3", "c4"), after, limit) == ids


def test_a_page_goes_on_after_a_client_that_has_left() -> None:
    registry = a_registry("c1", "c2", "c3", "c4")
    registry.remove("c2")
    assert page(registry, "c2", 1) == ["c3"]


def test_there_is_no_page_after_a_client_that_was_never_there() -> None:
    assert page(a_registry("c1"), "never", 1) is None


def test_a_client_that_comes_back_is_the_last_again() -> None:
    registry = a_registry("c1", "c2")
    registry.remove("c1")
    registry.add(a_client("c1"))
    assert page(registry, "c2", None) == ["c1"]
    assert page(registry, "c1", None) == []


def test_the_last_ten_thousand_that_left_are_remembered_and_no_more_than_twice_that() -> None:
    registry = a_registry("first", "stays")
    registry.remove("first")
    for number in range(19_998):
        registry.add(a_client(f"c{number}"))
        registry.remove(f"c{number}")
    assert page(registry, "first", None) == ["stays"]
    registry.add(a_client("last"))
    registry.remove("last")
    assert page(registry, "first", None) is None
    assert page(registry, "c9998", None) is None
    assert page(registry, "c9999", None) == []
    assert page(registry, "last", None) == []
    assert [client.id for client in registry] == ["stays"]


def test_clients_that_come_and_go_do_not_push_others_out() -> None:
    gone = [f"c{number}" for number in range(6_000)]
    registry = a_registry(*gone, "stays")
    for client_id in gone:
        registry.remove(client_id)
    for _ in range(14_000):
        registry.add(a_client("restless"))
        registry.remove("restless")
    assert page(registry, "c5999", None) == ["stays"]
    assert page(registry, "c0", 1) == ["stays"]


def test_users_are_counted_once_however_many_connections_they_have() -> None:
    registry = a_registry("c1")
    for client_id, user_id in (("c2", "u1"), ("c3", "u1"), ("c4", "u2")):
        registry.add(a_client(client_id, user_id=user_id))
    assert (registry.users, registry.with_user) == (2, 3)
    registry.remove("c2")
    registry.remove("c2")
    registry.remove("c1")
    assert (registry.users, registry.with_user) == (2, 2)
    registry.remove("c3")
    registry.remove("c4")
    assert (registry.users, registry.with_user) == (0, 0)
