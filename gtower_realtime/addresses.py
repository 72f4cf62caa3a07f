"""Whose address a request counts for, when proxies stand in front. Knows header values only."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

UNIX_SOCKET = "unix"
"""What a peer on a unix socket is called; listing it in the trusted proxies trusts that socket."""


class TrustedProxies:
    """The proxies whose ``X-Forwarded-For`` is believed: networks, addresses, or ``unix``."""

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        entries = tuple(proxies)
        self._trusts_unix_socket = UNIX_SOCKET in entries
        self._networks: tuple[Network, ...] = tuple(
            ip_network(entry, strict=False) for entry in entries if entry != UNIX_SOCKET
        )

    def client_address(self, peer: str, forwarded_for: str | None) -> str:
        """Return the address of the client behind ``peer``.

        ``forwarded_for`` is the whole header, nearest hop last. It counts only when ``peer`` is a
        trusted proxy; then the last entry that is not itself a trusted proxy is the client. An
        entry that is no IP address ends the search: what a stranger wrote left of it is not
        believed.
        """
        client = peer
        if forwarded_for is None or not self._trusts(peer):
            return client
        for hop in reversed(forwarded_for.split(",")):
            try:
                client = str(_parsed(hop.strip()))
            except ValueError:
                break
            if not self._trusts(client):
                break
        return client

    def _trusts(self, peer: str) -> bool:
        if peer == UNIX_SOCKET:
            return self._trusts_unix_socket
        try:
            address = _parsed(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _parsed(text: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4 one in its IPv6 form (``::ffff:10.0.0.1``) is the IPv4 one."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
