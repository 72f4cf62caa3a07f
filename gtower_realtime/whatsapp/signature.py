"""How Meta signs the bodies of webhooks, and whether it was Meta who signed one. Pure functions."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

HEADER = "X-Hub-Signature-256"

_PREFIX = "sha256="


def sign(body: bytes, secret: str) -> str:
    """Return the header's value for ``body``: ``sha256=`` and an HMAC-SHA256 in hexadecimal."""
    return _PREFIX + hmac.new(secret.encode(), body, sha256).hexdigest()


def is_signed(body: bytes, signature: str | None, secrets: Iterable[str]) -> bool:
    """Say whether ``signature`` is that of these very bytes with any of ``secrets``.

    Each is tried, in constant time: while secrets are rotated there are two.
    """
    presented = (signature or "").encode()
    matches = [hmac.compare_digest(sign(body, secret).encode(), presented) for secret in secrets]
    return any(matches)
