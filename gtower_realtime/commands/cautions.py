"""What is allowed by settings that an operator may not have meant: one sentence each.

Unlike the problems of `Settings.load` none of this stops a start.
"""

import resource
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from gtower_realtime.cluster.replica import STREAM_BYTES, STREAM_EVENTS
from gtower_realtime.limits import open_files_for
from gtower_realtime.setting_values import is_local_host
from gtower_realtime.settings import Settings


class _Caution(NamedTuple):
    holds: Callable[[Settings], bool]
    sentence: str


def _is_reached_by_others(settings: Settings) -> bool:
    # Whoever listens on a unix socket has a proxy before it.
    return settings.unix_socket is not None or not is_local_host(settings.host)


def _remote_redis(settings: Settings) -> SplitResult | None:
    """Return the URL of a Redis on another machine; None if there is none."""
    parts = urlsplit(settings.redis_url or "")
    return parts if parts.hostname and not is_local_host(parts.hostname) else None


def _is_open(settings: Settings) -> bool:
    redis = _remote_redis(settings)
    return redis is not None and not redis.password


def _is_readable_on_the_way(settings: Settings) -> bool:
    redis = _remote_redis(settings)
    return redis is not None and redis.scheme == "redis"


_CAUTIONS = (
    _Caution(
        lambda s: "*" in s.cors_origin,
        "GTOWER_CORS_ORIGIN is *: every web page may connect. Name the origins of yours.",
    ),
    _Caution(
        lambda s: not s.api_keys,
        "GTOWER_API_KEYS is not set: whoever reaches this address may publish, read and "
        "disconnect. Give each back-end a key (`make-key`).",
    ),
    _Caution(
        lambda s: not s.requires_tokens,
        "Tokens are off: every client may join and say everything. Set GTOWER_JWT_SECRET, "
        "GTOWER_JWT_PUBLIC_KEY or GTOWER_JWT_JWKS_URL.",
    ),
    _Caution(
        lambda s: _is_reached_by_others(s) and not s.trusted_proxies,
        "GTOWER_TRUSTED_PROXIES is not set: behind a proxy all clients share its address, and the "
        "limits per address. Name the proxy, if there is one.",
    ),
    _Caution(
        lambda s: s.store_url == "memory:" and s.redis_url is None,
        "GTOWER_DATABASE_URL is memory: everything is forgotten when the server ends.",
    ),
    _Caution(
        _is_open,
        "GTOWER_REDIS_URL has no password: whoever reaches that Redis may read and change "
        "everything. Give it users (`user … on >…`), and the URL a user and a password.",
    ),
    _Caution(
        _is_readable_on_the_way,
        "GTOWER_REDIS_URL is redis:// to another machine: whoever is in between reads events and "
        "password. Use rediss://, unless the way is encrypted already.",
    ),
    _Caution(
        lambda s: s.redis_url is not None and s.store_url == "memory:",
        "GTOWER_DATABASE_URL is memory: what waits while Redis is away is lost when the process "
        "ends. Leave it unset: each process keeps it in a file of its state directory then.",
    ),
    _Caution(
        lambda s: s.redis_url is not None and s.store_url.startswith("sqlite:"),
        "GTOWER_REDIS_URL is set and GTOWER_DATABASE_URL is SQLite: history reaches as far back as "
        f"the stream in Redis, {STREAM_EVENTS:,} events of all rooms or {STREAM_BYTES >> 20} MiB. "
        "For more set it to postgresql://….",
    ),
)


def open_files() -> int | None:
    """Return how many files a process that is started here may have open; None for any number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def cautions(settings: Settings, *, open_files: int | None) -> list[str]:
    """Return what to think about; at most ``open_files`` may be open, None for any number."""
    sentences = [caution.sentence for caution in _CAUTIONS if caution.holds(settings)]
    wanted = open_files_for(settings.max_connections)
    if settings.max_connections and open_files is not None and open_files < wanted:
        sentences.append(
            f"At most {open_files} files may be open, which is too few for GTOWER_MAX_CONNECTIONS="
            f"{settings.max_connections}. Allow {wanted} (`ulimit -Hn`, systemd's LimitNOFILE=)."
        )
    return sentences
