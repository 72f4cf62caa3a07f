"""What is allowed by settings that an operator may not have meant: one sentence each.

Unlike the problems of `Settings.load` none of this stops a start.
"""

import resource
from collections.abc import Callable
from typing import NamedTuple

from gtower_realtime.limits import open_files_for
from gtower_realtime.setting_values import is_local_host
from gtower_realtime.settings import Settings


class _Caution(NamedTuple):
    holds: Callable[[Settings], bool]
    sentence: str


def _is_reached_by_others(settings: Settings) -> bool:
    # Whoever listens on a unix socket has a proxy before it.
    return settings.unix_socket is not None or not is_local_host(settings.host)


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
        lambda s: s.store_url == "memory:",
        "GTOWER_DATABASE_URL is memory: everything is forgotten when the server ends.",
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
