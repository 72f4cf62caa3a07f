import errno
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gtower_realtime.listeners import ListenError, listen_tcp, listen_unix


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Give a socket that listens on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def ips_and_ports(listeners: list[socket.socket]) -> list[tuple[str, int]]:
    """Return where the sockets listen, and close them."""
    names = [listener.getsockname()[:2] for listener in listeners]
    for listener in listeners:
        listener.close()
    return names


def test_localhost_is_both_loopback_addresses_with_the_same_port() -> None:
    (ipv4, port), *others = ips_and_ports(listen_tcp("localhost", 0))
    assert ipv4 == "127.0.0.1"
    assert port > 0
    assert others in ([], [("::1", port)])


def test_localhost_does_without_ipv6_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    create_server = socket.create_server

    def without_ipv6(address: Any, **options: Any) -> socket.socket:
        if options["family"] == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create_server(address, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    assert [ip for ip, _ in ips_and_ports(listen_tcp("localhost", 0))] == ["127.0.0.1"]


def test_a_free_port_is_free_on_both_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    create_server = socket.create_server
    refused: list[Any] = []

    def taken_once(address: Any, **options: Any) -> socket.socket:
        if options["family"] == socket.AF_INET6 and not refused:
            refused.append(address)
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return create_server(address, **options)

    monkeypatch.setattr(socket, "create_server", taken_once)
    listeners = ips_and_ports(listen_tcp("localhost", 0))
    assert refused
    assert len({port for _, port in listeners}) == 1


def test_a_port_that_is_taken_is_named(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(ListenError) as caught:
        listen_tcp("localhost", port)
    assert str(caught.value) == (
        f"Cannot listen on port {port} of localhost: another process does. "
        "GTOWER_PORT chooses another port."
    )


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError) as caught:
        listen_tcp("192.0.2.1", 0)
    assert str(caught.value) == (
        "Cannot listen on port 0 of 192.0.2.1: this machine does not have the address."
    )


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(ListenError) as caught:
        listen_tcp("no-such-host.invalid", 0)
    assert str(caught.value) == "No address is known for GTOWER_HOST=no-such-host.invalid."


def test_a_listener_may_be_restarted_while_old_connections_linger(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)), closing(taken.accept()[0]):
        taken.close()
    assert ips_and_ports(listen_tcp("127.0.0.1", port)) == [("127.0.0.1", port)]


def test_a_unix_socket_is_for_the_owner_and_the_group(tmp_path: Path) -> None:
    path = tmp_path / "gtower.sock"
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_file_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "gtower.sock"
    listen_unix(path).close()
    assert path.exists()
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gtower.sock"
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ListenError) as caught:
            listen_unix(path)
        client.connect(str(path))
    assert str(caught.value) == f"Cannot listen on {path}: another process does."


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gtower.sock"
    path.write_text("precious")
    with pytest.raises(ListenError) as caught:
        listen_unix(path)
    assert path.read_text() == "precious"
    assert str(caught.value) == f"Cannot listen on {path}: a file that is not a socket is there."


def test_a_unix_socket_in_a_directory_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "gtower.sock"
    with pytest.raises(ListenError) as caught:
        listen_unix(path)
    assert str(caught.value) == f"Cannot listen on {path}: No such file or directory."
