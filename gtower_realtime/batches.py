"""Many events in one request: one commit for all that are good, one outcome for each. No wires."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from gtower_realtime.errors import InternalError, RealtimeError
from gtower_realtime.idempotency import LookUp, OnceOnly, Publish, Shape

logger = structlog.get_logger(__name__)

Outcome = tuple[dict[str, Any], bool] | RealtimeError
"""The answer and whether it was given before, or why nobody has seen the event."""


@dataclass(slots=True)
class BatchItem:
    """One event of a batch. ``publish`` begins it; ``shape`` makes the answer of its receipt.

    With a ``scope``, which ends with the caller's key, and the text of the item, it is sent once
    however often it is asked for; see `OnceOnly`.
    """

    publish: Publish
    shape: Shape
    scope: tuple[str, ...] | None = None
    text: bytes = field(default=b"", repr=False)


async def send_batch(
    items: Sequence[BatchItem | RealtimeError], once_only: OnceOnly
) -> list[Outcome]:
    """Send the items in their order and return the outcome of each; refusals stay what they are.

    What was answered before is looked up first, for all; then all the others are begun in one turn
    of the loop, so that they are recorded together.
    """
    known: Sequence[LookUp | RealtimeError | None] = [None] * len(items)
    if any(map(_has_key, items)):
        known = await asyncio.gather(*(_look_up(item, once_only) for item in items))
    begun = [_begin(item, found, once_only) for item, found in zip(items, known, strict=True)]
    return [await _outcome(one) for one in begun]


def _has_key(item: BatchItem | RealtimeError) -> bool:
    return isinstance(item, BatchItem) and item.scope is not None


async def _look_up(
    item: BatchItem | RealtimeError, once_only: OnceOnly
) -> LookUp | RealtimeError | None:
    if isinstance(item, RealtimeError) or item.scope is None:
        return None
    try:
        return await once_only.look_up(item.scope, item.text)
    except RealtimeError as refusal:
        return refusal


def _begin(
    item: BatchItem | RealtimeError, found: LookUp | RealtimeError | None, once_only: OnceOnly
) -> Callable[[], Awaitable[tuple[dict[str, Any], bool]]] | RealtimeError:
    """Begin an item; return what waits for its answer."""
    if isinstance(item, RealtimeError):
        return item
    if isinstance(found, RealtimeError):
        return found
    try:
        if found is not None:
            answered = once_only.carry_on(found, item.publish, item.shape)
            return lambda: answered
        published = item.publish(None)
    except RealtimeError as refusal:
        return refusal

    async def answer() -> tuple[dict[str, Any], bool]:
        return item.shape((await published).as_dict()), False

    return answer


async def _outcome(
    begun: Callable[[], Awaitable[tuple[dict[str, Any], bool]]] | RealtimeError,
) -> Outcome:
    if isinstance(begun, RealtimeError):
        return begun
    try:
        return await begun()
    except RealtimeError as refusal:
        return refusal
    except Exception:  # the edge of one item: the others have their own outcomes
        logger.exception("batch_item_failed")
        return InternalError("The server failed; try again later.")
