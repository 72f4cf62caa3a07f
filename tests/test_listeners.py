import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gtower_realtime import listeners
from gtower_realtime.listeners import (
    ListenError,
    inherited,
    is_local,
    listen_tcp,
    listen_unix,
    place,
    reachable_name,
)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Give a socket that listens on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def ips_and_ports(sockets: list[socket.socket]) -> list[tuple[str, int]]:
    """Return where the sockets listen, and close them."""
    names = [listener.getsockname()[:2] for listener in sockets]
    for listener in sockets:
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
    both = ips_and_ports(listen_tcp("localhost", 0))
    assert refused
    assert len({port for _, port in both}) == 1


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


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("::1", "[::1]"),
        ("chat.example.com", "chat.example.com"),
    ],
)
def test_the_start_line_names_a_host_that_a_browser_reaches(host: str, name: str) -> None:
    assert reachable_name(host) == name


def test_nothing_is_inherited_without_the_variables() -> None:
    assert inherited({}) == []


@pytest.mark.parametrize("process", ["1", "", "nonsense"])
def test_sockets_for_another_process_are_left_alone(process: str) -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": process, "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert inherited(environ) == []
    assert environ == {"HOME": "/"}


def test_what_was_handed_over_and_does_not_listen_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as deaf:
        monkeypatch.setattr(listeners, "_FIRST_DESCRIPTOR", os.dup(deaf.fileno()))
        with pytest.raises(ListenError) as caught:
            inherited({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    assert str(caught.value) == (
        f"File descriptor {listeners._FIRST_DESCRIPTOR} is no stream socket that listens: the "
        "socket unit takes ListenStream= and no Accept=."
    )


def test_what_was_handed_over_and_is_no_socket_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(listeners, "_FIRST_DESCRIPTOR", file.fileno())
        with pytest.raises(ListenError) as caught:
            inherited({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    assert str(caught.value) == (
        f"File descriptor {listeners._FIRST_DESCRIPTOR}, which systemd should have handed over, is "
        "no socket (Socket operation on non-socket)."
    )


def test_who_reaches_a_socket_is_told_by_its_address(tmp_path: Path) -> None:
    addresses = ["127.0.0.1", "0.0.0.0"]
    sockets = [socket.create_server((address, 0)) for address in addresses]
    sockets.append(listen_unix(tmp_path / "gtower.sock"))
    assert [is_local(listener) for listener in sockets] == [True, False, True]
    port = sockets[1].getsockname()[1]
    assert [place(listener) for listener in sockets[1:]] == [
        f"http://localhost:{port}",
        f"unix:{tmp_path}/gtower.sock",
    ]
    for listener in sockets:
        listener.close()
