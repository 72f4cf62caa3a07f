"""The sockets that the server listens on. Knows nothing of who answers on them."""

import errno
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

BACKLOG = 4096
"""Connections that may wait to be accepted: after a restart all clients come back at once."""
_FREE_PORT_TRIES = 20
_UNIX_SOCKET_MODE = 0o660  # for a reverse proxy in the same group

# Names that stand for an address of each family. The sockets stay apart, so that an IPv4 client
# has an IPv4 address; a machine without IPv6 does with the first.
_BOTH_FAMILIES = {"localhost": ("127.0.0.1", "::1"), "::": ("0.0.0.0", "::")}  # noqa: S104
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})


_FIRST_DESCRIPTOR = 3
"""Where the sockets of sd_listen_fds(3) begin."""


class ListenError(Exception):
    """The server cannot listen where it should; the message says where and why."""


class _Address(NamedTuple):
    family: socket.AddressFamily
    ip: str
    is_optional: bool = False


def listen_tcp(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of ``host`` with the same port; 0 takes one that is free on all.

    ``localhost`` is 127.0.0.1, and ::1 where there is one; ``::`` is any address of both.

    Raises:
        ListenError: nothing is left open then.
    """
    addresses = _addresses(host)
    for _ in range(_FREE_PORT_TRIES):
        try:
            return _listen_on_all(addresses, port)
        except OSError as problem:
            # The port that was free on the first address may be taken on the second.
            if port != 0 or problem.errno != errno.EADDRINUSE:
                raise _explained(host, port, problem) from None
    raise ListenError(f"No port is free on all addresses of {host}.")


def listen_unix(path: Path) -> socket.socket:
    """Listen on a unix socket that the owner and the group may use.

    A socket file that nobody listens on is replaced.

    Raises:
        ListenError: somebody does, or the path is something else, or the directory is not ours.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(_UNIX_SOCKET_MODE)
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        raise ListenError(f"Cannot listen on {path}: {problem.strerror}.") from None
    except ListenError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd has handed over; none when it has not.

    The variables are taken out of ``environ``, and the sockets are not passed on to children.
    Source: sd_listen_fds(3).

    Raises:
        ListenError: one of them is no stream socket that listens.
    """
    count, process, _ = [
        environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    ]
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    return [_handed_over(_FIRST_DESCRIPTOR + place) for place in range(int(count))]


def _handed_over(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as problem:
        raise ListenError(
            f"File descriptor {descriptor}, which systemd should have handed over, is no socket "
            f"({problem.strerror})."
        ) from None
    if listener.type != socket.SOCK_STREAM or not listens:
        listener.close()
        raise ListenError(
            f"File descriptor {descriptor} is no stream socket that listens: the socket unit takes "
            "ListenStream= and no Accept=."
        )
    listener.setblocking(False)
    return listener


def is_local(listener: socket.socket) -> bool:
    """Say whether only this machine reaches a listening socket."""
    if listener.family == socket.AF_UNIX:
        return True
    address = ip_address(listener.getsockname()[0].partition("%")[0])
    return address.is_loopback


def place(listener: socket.socket) -> str:
    """Return where a socket listens, as settings and messages have it: ``unix:/path``, a URL."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        path = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        return f"unix:{path}".replace("\0", "@", 1)
    return f"http://{reachable_name(name[0])}:{name[1]}"


def reachable_name(host: str) -> str:
    """Return what a browser on this machine reaches ``host`` by."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _addresses(host: str) -> list[_Address]:
    if host in _BOTH_FAMILIES:
        ipv4, ipv6 = _BOTH_FAMILIES[host]
        return [
            _Address(socket.AF_INET, ipv4),
            _Address(socket.AF_INET6, ipv6, is_optional=True),
        ]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        raise ListenError(f"No address is known for GTOWER_HOST={host}.") from None
    return list(dict.fromkeys(_Address(family, str(where[0])) for family, *_, where in found))


def _listen_on_all(addresses: Iterable[_Address], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                listener = socket.create_server(
                    (address.ip, port), family=address.family, backlog=BACKLOG
                )
            except OSError as problem:
                if address.is_optional and problem.errno in _NO_IPV6:
                    continue
                raise
            listener.setblocking(False)
            listeners.append(listener)
            port = listener.getsockname()[1]
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _explained(host: str, port: int, problem: OSError) -> ListenError:
    where = f"port {port} of {host}"
    if problem.errno == errno.EADDRINUSE:
        return ListenError(
            f"Cannot listen on {where}: another process does. GTOWER_PORT chooses another port."
        )
    if problem.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"Cannot listen on {where}: this machine does not have the address.")
    reason = errno.errorcode.get(problem.errno or 0, "unknown error")
    return ListenError(f"Cannot listen on {where}: {reason}.")


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"Cannot listen on {path}: a file that is not a socket is there.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ListenError(f"Cannot listen on {path}: another process does.")
