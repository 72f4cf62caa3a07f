"""Many events in one request: one commit for all that are good, one outcome for each. No wires."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import structlog

from gtower_realtime.errors import InternalError, RealtimeError
from gtower_realtime.idempotency import Also, LookUp, OnceOnly, Shape
from gtower_realtime.ports import Target
from gtower_realtime.publishing import Delivery, Receipt

logger = structlog.get_logger(__name__)

Begun = asyncio.Future[Receipt] | asyncio.Future[tuple[dict[str, Any], bool]]
"""The receipt to be of an item; of one with a key, the answer and whether it was given before."""

Outcome = tuple[dict[str, Any], bool] | RealtimeError
"""The answer and whether it was given before, or why nobody has seen the event."""


@dataclass(slots=True)
class BatchItem:
    """One event of a batch, and what makes the answer of its receipt.

    With a ``scope``, which ends with the caller's key, and the text of the item, it is sent once
    however often it is asked for; see `OnceOnly`.
    """

    event: str
    body: Mapping[str, Any]
    target: Target
    delivery: Delivery
    shape: Shape
    scope: tuple[str, ...] | None = None
    text: bytes = field(default=b"", repr=False)


class Begin(Protocol):
    """Begins to send an event; see `RealtimeService.begin_send`."""

    def __call__(
        self,
        event: str,
        body: Mapping[str, Any],
        target: Target,
        delivery: Delivery,
        also: Also | None = None,
    ) -> "asyncio.Future[Receipt]":
        """Return the receipt to be."""


async def send_batch(
    items: Sequence[BatchItem | RealtimeError], once_only: OnceOnly, begin: Begin
) -> list[Outcome]:
    """Send the items in their order and return the outcome of each; refusals stay what they are.

    What was answered before is looked up first, for all; then all the others are begun in one turn
    of the loop, so that they are recorded together.
    """
    known: Sequence[LookUp | RealtimeError | None] = [None] * len(items)
    if any(map(_has_key, items)):
        known = await asyncio.gather(*(_look_up(item, once_only) for item in items))
    begun = [
        _begin(item, found, once_only, begin) for item, found in zip(items, known, strict=True)
    ]
    return [await _outcome(item, one) for item, one in zip(items, begun, strict=True)]


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
    item: BatchItem | RealtimeError,
    found: LookUp | RealtimeError | None,
    once_only: OnceOnly,
    begin: Begin,
) -> Begun | RealtimeError:
    """Begin an item, unless it is refused."""
    if isinstance(item, RealtimeError):
        return item
    if isinstance(found, RealtimeError):
        return found
    try:
        if found is None:
            return begin(item.event, item.body, item.target, item.delivery)
        publish = partial(begin, item.event, item.body, item.target, item.delivery)
        return once_only.carry_on(found, publish, item.shape)
    except RealtimeError as refusal:
        return refusal


async def _outcome(item: BatchItem | RealtimeError, begun: Begun | RealtimeError) -> Outcome:
    if isinstance(item, RealtimeError):
        return item
    if isinstance(begun, RealtimeError):
        return begun
    try:
        result = await begun
        return (item.shape(result.as_dict()), False) if isinstance(result, Receipt) else result
    except RealtimeError as refusal:
        return refusal
    except Exception:  # the edge of one item: the others have their own outcomes
        logger.exception("batch_item_failed")
        return InternalError("The server failed; try again later.")
