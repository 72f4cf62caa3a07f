"""What every store asks of the changes that it is to record."""

from collections.abc import Iterable

from gtower_realtime.records import StoredEvent


def check_numbers(events: Iterable[StoredEvent], last_number: int) -> int:
    """Return the number of the last of ``events``, or ``last_number`` when there is none.

    Raises:
        ValueError: the numbers do not rise above ``last_number``: one would be used twice.
    """
    for event in events:
        if event.number <= last_number:
            raise ValueError(f"number {event.number} was given out before")
        last_number = event.number
    return last_number
