"""How far a message has come: its statuses go forward only, however they arrive."""

FAILED = "failed"

_ORDER = ("sent", "delivered", "read", "played")


def is_known(status: str) -> bool:
    """Say whether a status has a place in the order of a message's life."""
    return status == FAILED or status in _ORDER


def leads_on(status: str, furthest: str | None) -> bool:
    """Say whether a known status is news of a message that has come as far as ``furthest``.

    Nothing follows a failure; and a message that was read has not failed.
    """
    if furthest is None:
        return True
    if furthest == FAILED:
        return False
    if status == FAILED:
        return _ORDER.index(furthest) < _ORDER.index("read")
    return _ORDER.index(status) > _ORDER.index(furthest)
