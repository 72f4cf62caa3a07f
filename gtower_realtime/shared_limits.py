"""Limits that hold for all processes of a cluster together: keys of back-ends, floods of clients.

What is used at one process is told to the others five times a second, so a burst may be spent at
each of them before they know; after that it is one rate for all. No wires.
"""

from collections.abc import Callable

from gtower_realtime.identity import ApiRates
from gtower_realtime.peers import Arguments, Peers

TELL_SECONDS = 0.2

_USED = "used"
_PENALISED = "penalised"

Penalise = Callable[[str | None, str], None]
"""Refuses a user for a while; without one, an address."""


class SharedLimits:
    """Tells the others what is used here, and counts what is used there."""

    def __init__(self, peers: Peers, api_rates: ApiRates, penalise: Penalise) -> None:
        self._peers = peers
        self._api_rates = api_rates
        self._penalise = penalise
        peers.hear_of(_USED, self._hear_used)
        peers.hear_of(_PENALISED, self._hear_penalised)

    def tell(self) -> None:
        """Tell what was used since the last time; to be called every `TELL_SECONDS`."""
        used = self._api_rates.take_used()
        if used:
            self._peers.spread(_USED, used)

    def penalise(self, user_id: str | None, address: str) -> None:
        """Have a user refused everywhere for a while; without one, an address."""
        self._penalise(user_id, address)
        self._peers.spread(_PENALISED, {"user": user_id, "address": address})

    def _hear_used(self, used: Arguments) -> None:
        for key_name, times in used.items():
            self._api_rates.used_elsewhere(key_name, times)

    def _hear_penalised(self, penalised: Arguments) -> None:
        self._penalise(penalised["user"], penalised["address"])
