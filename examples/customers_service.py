"""A back-end's customers service, whose agents see each change as soon as it is saved."""

import logging
from collections.abc import Mapping

from gtower_realtime.errors import RealtimeError
from gtower_realtime.service import RealtimeService

logger = logging.getLogger(__name__)

Customer = Mapping[str, str]


class CustomersService:
    """Keeps customers (here in memory) and tells agents of changes.

    A page that shows one customer joins the room `customer:<id>`; lists of customers show names.
    """

    def __init__(self, realtime: RealtimeService) -> None:
        self._realtime = realtime
        self._customers: dict[str, Customer] = {}

    async def update(self, customer_id: str, changes: Customer) -> Customer:
        """Save ``changes`` and return the whole customer.

        `customerUpdated` ``{"customerId", "customer", "timestamp"}`` goes to the customer's room;
        after a change of the name, which every list shows, to everyone.
        """
        before = self._customers.get(customer_id, {})
        customer = {**before, **changes}
        if customer == before:
            return customer
        self._customers[customer_id] = customer
        is_in_lists = customer.get("name") != before.get("name")
        await self._tell_agents(customer_id, customer, is_in_lists)
        return customer

    async def _tell_agents(self, customer_id: str, customer: Customer, is_in_lists: bool) -> None:
        news = {"customerId": customer_id, "customer": customer}
        try:
            if is_in_lists:
                await self._realtime.broadcast_event("customerUpdated", news)
            else:
                room = f"customer:{customer_id}"
                await self._realtime.send_event_to_room(room, "customerUpdated", news)
        except RealtimeError as refusal:
            # The change is saved; that it was not shown at once is no reason to undo it.
            logger.warning("agents were not told of customer %s: %s", customer_id, refusal.code)
