"""What the text of a setting may be: one parser for each kind of value.

A parser takes the text without surrounding blanks and returns the value, or raises ValueError with
one argument for each thing that is wrong. The arguments never repeat the text: it may be a secret.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from gtower_realtime.addresses import UNIX_SOCKET
from gtower_realtime.names import MAX_ROOM_NAME, problem_with_name

Value = TypeVar("Value")

UNIX_PREFIX = "unix:"
SCOPES = frozenset({"publish", "read", "admin"})

_MIN_API_KEY_LENGTH = 20
_MIN_JWT_SECRET_BYTES = 32
_MAX_UNIX_PATH_BYTES = 107  # Linux's sun_path holds 108 with the closing NUL.
_A_CENTURY = 3_155_760_000

_API_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FRACTION = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_HASHED_KEY = re.compile(r"sha256-([0-9a-fA-F]{64})")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_NAMESPACE = re.compile(r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)?")
_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://"
    r"(?:(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::[0-9]{1,5})?/?",
    re.IGNORECASE,
)
_PUBLIC_KEY = re.compile(
    r"-----BEGIN ((?:[A-Z]+ )?)PUBLIC KEY-----\n.+\n-----END \1PUBLIC KEY-----", re.DOTALL
)
_SEPARATOR = re.compile(r"[,\n]")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A back-end's key: what it is called and what it may. The key itself is not kept."""

    name: str
    scopes: frozenset[str]
    """Of ``publish``, ``read`` and ``admin``; with ``admin`` always all three."""
    digest: bytes = field(repr=False)
    """SHA-256 of the key's text."""
    room_prefixes: tuple[str, ...] = ()
    """The key may address rooms that begin with one of these, and nothing else; empty: anything."""


def api_key(text: str) -> ApiKey:
    """Read ``name:scope+scope:key[:prefix|prefix]``; the prefixes may have colons."""
    name, *more = text.split(":", 3)
    if len(more) < 2 or not _API_KEY_NAME.fullmatch(name):
        raise ValueError("must be name:scope+scope:key, the name of letters, digits, '.', '_', '-'")
    scopes = frozenset(more[0].split("+"))
    if not scopes <= SCOPES:
        raise ValueError(f"must have scopes of {', '.join(sorted(SCOPES))}, joined by '+'")
    prefixes = tuple(more[2].split("|")) if len(more) > 2 else ()
    for prefix in prefixes:
        if problem := problem_with_name(prefix, MAX_ROOM_NAME):
            raise ValueError(f"each room prefix {problem}")
    return ApiKey(name, SCOPES if "admin" in scopes else scopes, _key_digest(more[1]), prefixes)


def _key_digest(key: str) -> bytes:
    if key.startswith("sha256-"):
        hashed = _HASHED_KEY.fullmatch(key)
        if not hashed:
            raise ValueError("must have 64 hexadecimal digits after 'sha256-'")
        return bytes.fromhex(hashed[1])
    if len(key) < _MIN_API_KEY_LENGTH:
        raise ValueError(f"must have a key of at least {_MIN_API_KEY_LENGTH} characters")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("must have a key of visible ASCII characters, to fit into a header")
    return sha256(key.encode()).digest()


def api_keys(text: str) -> tuple[ApiKey, ...]:
    """Read a list of :func:`api_key`; no name and no key may come twice."""
    keys = list_of(api_key)(text)
    if text and not keys:
        # Who sets this wants a closed door.
        raise ValueError("must have a key")
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("two keys must not have the same name")
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("two names must not have the same key")
    return keys


def list_of(item: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Read items between commas or line ends; empty ones are passed over."""

    def parse(text: str) -> tuple[Value, ...]:
        values = []
        problems = []
        parts = [part.strip() for part in _SEPARATOR.split(text)]
        for number, part in enumerate(filter(None, parts), start=1):
            try:
                values.append(item(part))
            except ValueError as problem:
                problems += [f"item {number} {reason}" for reason in problem.args]
        if problems:
            raise ValueError(*problems)
        return tuple(values)

    return parse


def whole(minimum: int = 0, maximum: int = 10**18) -> Callable[[str], int]:
    """Read a whole number in decimal digits."""

    def parse(text: str) -> int:
        if _WHOLE_NUMBER.fullmatch(text) and minimum <= int(text) <= maximum:
            return int(text)
        raise ValueError(f"must be a whole number from {minimum} to {maximum}")

    return parse


def seconds(minimum: float = 0, maximum: float = _A_CENTURY) -> Callable[[str], float]:
    """Read a time in seconds, with a fraction or without."""

    def parse(text: str) -> float:
        if _FRACTION.fullmatch(text) and minimum <= float(text) <= maximum:
            return float(text)
        raise ValueError(f"must be a number of seconds from {minimum} to {maximum}")

    return parse


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``, or what people write for them."""
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError("must be true or false")


def choice(*words: str) -> Callable[[str], str]:
    """Read one of ``words``, in capitals or not."""

    def parse(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        raise ValueError(f"must be one of {', '.join(words)}")

    return parse


def host(text: str) -> str:
    """Read where to listen: a host name, an IP address, or ``unix:/path``."""
    if text.startswith(UNIX_PREFIX):
        path = text.removeprefix(UNIX_PREFIX)
        if not path.startswith("/") or len(path.encode()) > _MAX_UNIX_PATH_BYTES:
            raise ValueError(
                f"must have an absolute path of at most {_MAX_UNIX_PATH_BYTES} bytes after 'unix:'"
            )
        return text
    address = text.removeprefix("[").removesuffix("]")
    if not _is_ip_address(address) and not _HOST_NAME.fullmatch(address):
        raise ValueError("must be a host name, an IP address, or unix:/path")
    return address


def is_local_host(listened: str) -> bool:
    """Say whether only this machine reaches what :func:`host` has read."""
    if listened == "localhost" or listened.startswith(UNIX_PREFIX):
        return True
    return _is_ip_address(listened) and ip_address(listened).is_loopback


def _is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def proxy(text: str) -> str:
    """Read an IP address, a network, or ``unix``, as ``TrustedProxies`` takes them."""
    if text != UNIX_SOCKET:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ValueError("must be an IP address, a network like 10.0.0.0/8, or unix") from None
    return text


def origins(text: str) -> tuple[str, ...]:
    """Read ``*`` alone, or origins as ``OriginPolicy`` takes them."""
    entries = list_of(_origin)(text)
    if not entries:
        raise ValueError("must name at least one origin")
    if "*" in entries and len(entries) > 1:
        raise ValueError("must be '*' alone, or origins without it")
    return entries


def _origin(text: str) -> str:
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError(
            "must be like https://app.example.com, https://*.example.com or http://localhost:5173"
        )
    return text


def namespaces(text: str) -> tuple[str, ...]:
    """Read one or more distinct Socket.IO namespaces."""
    entries = list_of(_namespace)(text)
    if not entries or len(set(entries)) < len(entries):
        raise ValueError("must have at least one namespace, and none twice")
    return entries


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise ValueError("must be '/' or like '/websocket'")
    return text


def room_prefix(text: str) -> str:
    """Read what the names of some rooms begin with."""
    if problem := problem_with_name(text, MAX_ROOM_NAME):
        raise ValueError(problem)
    return text


def url(*schemes: str) -> Callable[[str], str]:
    """Read a URL with a host, of one of ``schemes``."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            is_right = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_right = False
        if not is_right or not text.isprintable() or " " in text:
            raise ValueError(f"must be a URL that begins with {_alternatives(schemes)}")
        return text

    return parse


def _alternatives(schemes: tuple[str, ...]) -> str:
    return " or ".join(f"{scheme}://" for scheme in schemes)


def key_set_url(text: str) -> str:
    """Read where public keys are fetched: https, or http from this machine.

    Whoever can change the answer on its way can sign tokens.
    """
    location = url("https", "http")(text)
    parts = urlsplit(location)
    if parts.scheme == "http" and not is_local_host(parts.hostname or ""):
        raise ValueError("must be a URL that begins with https://")
    return location


def redis_url(text: str) -> str:
    """Read where Redis is, as ``redis://[user:password@]host[:port][/number]``.

    A password with a ``/`` in it, written as it is, would make a part of it the host, which
    messages name; options in a query would take the place of those that are needed.
    """
    parts = urlsplit(url("redis", "rediss")(text))
    if parts.query or parts.fragment or not re.fullmatch(r"(/\d*)?", parts.path):
        raise ValueError(
            "must be a URL like redis://user:password@host:6379/0, without options; in a password "
            "write %2F for /, %3F for ?, %23 for #"
        )
    return text


def database_url(text: str) -> str:
    """Read where events are stored."""
    if text == "memory:" or text.startswith("sqlite:///"):
        return text
    try:
        return url("postgresql")(text)
    except ValueError:
        raise ValueError("must be memory:, sqlite:///path, or postgresql://…") from None


def jwt_secret(text: str) -> str:
    """Read a secret for HS256 and its relatives (RFC 7518, 3.2: no shorter than the hash)."""
    if len(text.encode()) < _MIN_JWT_SECRET_BYTES:
        raise ValueError(f"must have at least {_MIN_JWT_SECRET_BYTES} bytes")
    return text


def public_key(text: str) -> str:
    r"""Read a public key in PEM; ``\n`` may stand for line ends, as environment files have it."""
    pem = text.replace("\\n", "\n").replace("\r\n", "\n")
    if "PRIVATE KEY" in pem:
        raise ValueError("must be the public key; a private key does not belong here")
    if not _PUBLIC_KEY.fullmatch(pem):
        raise ValueError("must be a public key in PEM (-----BEGIN PUBLIC KEY-----)")
    return pem


def path(text: str) -> Path:
    """Read a path of the file system."""
    return Path(text)


def words(text: str) -> str:
    """Take the text as it is."""
    return text
