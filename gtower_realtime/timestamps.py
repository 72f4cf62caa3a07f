"""The one form of time on the wire: ``2026-11-23T12:28:18.953Z`` (UTC, milliseconds, Z)."""

import re
import time
from datetime import UTC, datetime

_ISO_8601 = re.compile(
    r"\d{4}-?(?:\d\d-?\d\d|W\d\d-?\d)"
    r"(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


class SystemClock:
    """The clocks of the machine."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


def format_timestamp(moment: datetime) -> str:
    """Return an aware time as the wire has it."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_timestamp(text: str) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is UTC, without a time midnight.

    Raises:
        ValueError: it is not ISO 8601, does not exist, or lies outside the years 1 to 9999 in UTC.
    """
    if not _ISO_8601.fullmatch(text):
        raise ValueError("its form is not like 2026-11-23T12:28:18.953Z")
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999") from None


def milliseconds(moment: datetime) -> int:
    """Return an aware time as whole milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def from_milliseconds(moment: int) -> datetime:
    """Return the aware UTC time of milliseconds since 1970."""
    return datetime.fromtimestamp(moment / 1000, UTC)
