"""A process that writes to a store until it is killed, and says what it was told is recorded.

    python -m tests.store_writer LOCATION

Each line that it writes is the number of the last event of a commit that has returned.
"""

import asyncio
import sys

from gtower_realtime.records import AnswerGiven, Change, SessionOpened
from tests.stores import a_session, an_answer, some_events, sql_store

EVENTS_OF_A_COMMIT = 3


async def write(location: str) -> None:
    """Record a few events, a session and an answer in each commit."""
    store = sql_store(location)
    number = (await store.open(recent_events=0, recent_bytes=0)).last_number
    while True:
        numbers = range(number + 1, number + 1 + EVENTS_OF_A_COMMIT)
        number = numbers[-1]
        also: list[Change] = [
            SessionOpened(a_session(f"c{number}")),
            AnswerGiven(an_answer(f"k{number}")),
        ]
        await store.commit([*some_events(*numbers), *also])
        print(number, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
