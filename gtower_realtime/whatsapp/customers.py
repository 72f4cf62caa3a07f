"""Which customer a message or status is of."""

from gtower_realtime.names import MAX_CUSTOMER_ID, problem_with_name
from gtower_realtime.whatsapp.payloads import Update
from gtower_realtime.whatsapp.resolver import Resolver

_NAMED = "customer:"
_BY_NUMBER = "wa:"
_NOBODY = "unknown"


class Customers:
    """Finds the customer of an update; without a ``resolver`` from the update alone."""

    def __init__(self, resolver: Resolver | None) -> None:
        self._resolver = resolver

    async def customer_of(self, update: Update) -> str:
        """Return the customer's id, which can be part of a room's name.

        It is what the back-end has said of its message (``customer:<id>``), else what the back-end
        says of the number, else ``wa:<number>``.
        """
        named = update.callback_data or ""
        customer_id = named.removeprefix(_NAMED)
        if named.startswith(_NAMED) and not problem_with_name(customer_id, MAX_CUSTOMER_ID):
            return customer_id
        by_number = _BY_NUMBER + (update.number or _NOBODY)
        if problem_with_name(by_number, MAX_CUSTOMER_ID):
            return _BY_NUMBER + _NOBODY
        if self._resolver is None or not update.number:
            return by_number
        return await self._resolver.find(update.number) or by_number
