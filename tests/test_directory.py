"""Who is connected, whichever process they are connected to."""

from datetime import timedelta

import pytest

from gtower_realtime.clients import Client, ClientRegistry
from gtower_realtime.directory import Directory
from gtower_realtime.elsewhere import Elsewhere, FarClient
from gtower_realtime.errors import ValidationFailed
from tests.fakes import NOW, FakeClock, FakeTransport


class OneProcess:
    """A directory, and the two lists that it reads."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self.clients = ClientRegistry()
        self.elsewhere = Elsewhere()
        self.directory = Directory(self.transport, self.clients, FakeClock(), self.elsewhere)

    def here(self, client_id: str, milliseconds: float, *rooms: str) -> None:
        self.transport.connect(client_id)
        for room in rooms:
            self.transport.enter_room(client_id, room)
        self.clients.add(_client(client_id, milliseconds))

    def there(self, client_id: str, milliseconds: float, *rooms: str) -> None:
        # As it is told in whole milliseconds.
        client = _client(client_id, int(milliseconds))
        self.elsewhere.put(FarClient(client, "n2", "polling", dict.fromkeys(rooms)))

    def page(self, after: str | None = None, limit: int | None = None) -> list[str]:
        return [client["id"] for client in self.directory.clients(after, limit)]


def _client(client_id: str, milliseconds: float) -> Client:
    base = NOW.replace(microsecond=0)
    return Client(client_id, base + timedelta(milliseconds=milliseconds), "192.0.2.1")


def test_clients_of_all_processes_are_in_the_order_of_connecting() -> None:
    process = OneProcess()
    process.here("c1", 10)
    process.there("c2", 5)
    process.here("c3", 20)
    process.there("c4", 15)
    assert process.page() == ["c2", "c1", "c4", "c3"]
    assert process.page(limit=2) == ["c2", "c1"]
    assert process.page(after="c1") == ["c4", "c3"]
    assert process.page(after="c1", limit=1) == ["c4"]
    assert process.directory.count_clients() == 4


def test_paging_goes_on_after_a_client_that_has_left() -> None:
    process = OneProcess()
    process.here("c1", 10)
    process.there("c2", 20)
    process.there("c3", 30)
    process.elsewhere.remove("c2")
    assert process.page(after="c2") == ["c3"]
    process.clients.remove("c1")
    assert process.page(after="c1") == ["c3"]
    with pytest.raises(ValidationFailed, match="no such client"):
        process.page(after="never")


def test_pages_of_two_processes_skip_nobody() -> None:
    # The first is here, and the second there; within one millisecond they are in the order of ids.
    one, other = OneProcess(), OneProcess()
    one.here("z", 10.2)
    one.there("a", 10.7)
    other.there("z", 10.2)
    other.here("a", 10.7)
    for first, second in ((one, other), (other, one)):
        [client_id] = first.page(limit=1)
        assert [client_id, *second.page(after=client_id)] == ["a", "z"]


def test_rooms_have_the_members_of_all_processes() -> None:
    process = OneProcess()
    process.here("c1", 10, "sales")
    process.there("c2", 20, "sales", "news", "user:u1")
    assert process.directory.rooms() == {
        "rooms": [{"room": "news", "clients": 1}, {"room": "sales", "clients": 2}],
        "next": None,
    }
    assert process.directory.rooms(limit=1)["next"] == "news"
    assert process.directory.room("sales") == {"room": "sales", "clients": 2, "users": 0}
    assert process.directory.present("sales")["clients"] == [{"clientId": "c1"}, {"clientId": "c2"}]
    assert process.directory.room("c2") == {"room": "c2", "clients": 1, "users": 0}


def test_the_population_is_that_of_this_process() -> None:
    process = OneProcess()
    process.here("c1", 10, "sales")
    process.there("c2", 20, "sales", "news")
    population = process.directory.population()
    assert (population.clients, population.rooms, population.room_members) == (1, 1, 1)
