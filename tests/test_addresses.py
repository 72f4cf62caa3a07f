import pytest

from gtower_realtime.addresses import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


def test_without_trusted_proxies_the_peer_is_the_client_whatever_it_says() -> None:
    assert TrustedProxies().client_address("127.0.0.1", "203.0.113.5") == "127.0.0.1"


def test_a_stranger_is_not_believed() -> None:
    assert PROXIES.client_address("198.51.100.9", "203.0.113.5") == "198.51.100.9"


@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.1", "2001:db8::7", "::ffff:10.1.2.3"])
def test_a_trusted_proxy_says_who_the_client_is(peer: str) -> None:
    assert PROXIES.client_address(peer, "203.0.113.5") == "203.0.113.5"


def test_a_trusted_proxy_without_the_header_is_the_client() -> None:
    assert PROXIES.client_address("10.1.2.3", None) == "10.1.2.3"


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("1.1.1.1, 203.0.113.5", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5 ,10.9.9.9,192.0.2.1", "203.0.113.5"),
        ("2001:DB8:0::1, 10.9.9.9", "2001:db8::1"),
        ("2606:4700:0:0::1", "2606:4700::1"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("10.3.3.3, 10.9.9.9", "10.3.3.3"),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy_is_the_client(
    forwarded_for: str, client: str
) -> None:
    assert PROXIES.client_address("10.1.2.3", forwarded_for) == client


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("", "10.1.2.3"),
        ("1.1.1.1, unknown", "10.1.2.3"),
        ("1.1.1.1, unix", "10.1.2.3"),
        ("1.1.1.1, evil, 10.9.9.9", "10.9.9.9"),
    ],
)
def test_what_stands_left_of_a_word_that_is_no_address_is_not_believed(
    forwarded_for: str, client: str
) -> None:
    assert PROXIES.client_address("10.1.2.3", forwarded_for) == client


def test_a_unix_socket_is_trusted_only_when_listed() -> None:
    assert TrustedProxies(["unix"]).client_address("unix", "203.0.113.5") == "203.0.113.5"
    assert PROXIES.client_address("unix", "203.0.113.5") == "unix"


def test_a_peer_that_is_no_address_is_not_trusted() -> None:
    assert PROXIES.client_address("somewhere", "203.0.113.5") == "somewhere"
