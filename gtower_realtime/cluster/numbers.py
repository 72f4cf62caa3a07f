"""Ids of a Redis stream as numbers of the log, and back. Pure functions.

An id is ``<milliseconds>-<sequence>``. As a number it leaves room for a few between two ids: those
that a process gives out by itself while it is cut off, and that no other ever sees.
"""

_SEQUENCE_BITS = 12
_PRIVATE_BITS = 5
_TIME_BITS = _SEQUENCE_BITS + _PRIVATE_BITS


def number_of(stream_id: str) -> int:
    """Return the number of an id; numbers rise as ids do, for up to 4,096 in a millisecond."""
    milliseconds, _, sequence = stream_id.partition("-")
    return (int(milliseconds) << _TIME_BITS) + (int(sequence or 0) << _PRIVATE_BITS)


def stream_id(number: int) -> str:
    """Return the id of a number; of one that lies between two ids, the smaller."""
    milliseconds, rest = divmod(number, 1 << _TIME_BITS)
    return f"{milliseconds}-{rest >> _PRIVATE_BITS}"
