"""Who the connected clients are and what each may, for as long as its token lasts. No wires.

Without a verifier nobody needs a token, and everybody may everything but what is the server's own.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gtower_realtime.errors import Forbidden
from gtower_realtime.permissions import Permissions
from gtower_realtime.ports import Clock
from gtower_realtime.tokens import CLOSE_AFTER, WARN_BEFORE, Identity, TokenVerifier

_FEW_DUE = 64
"""Not worth tidying."""


@dataclass(frozen=True, slots=True)
class _Grant:
    identity: Identity
    permissions: Permissions


class Authentication:
    """Identifies clients by their tokens, and minds when those end.

    ``is_client_id`` tells which names of rooms are those of clients.
    """

    def __init__(
        self, verifier: TokenVerifier | None, clock: Clock, is_client_id: Callable[[str], bool]
    ) -> None:
        self._verifier = verifier
        self._clock = clock
        self._is_client_id = is_client_id
        self._everything = Permissions.unrestricted(is_client_id)
        self._nothing = Permissions((), (), is_client_id)
        self._grants: dict[str, _Grant] = {}
        # What is due when, about whose grant; of a grant that was replaced it is passed over.
        self._due: list[tuple[datetime, int, str, _Grant, bool]] = []
        self._order = itertools.count()

    @property
    def is_required(self) -> bool:
        """Whether a client needs a token."""
        return self._verifier is not None

    def replace_verifier(self, verifier: TokenVerifier | None) -> None:
        """Check tokens in another way from now on; those that were good stay so to their end."""
        self._verifier = verifier

    async def identify(self, token: object) -> Identity | None:
        """Return whom a token identifies; None while none is needed, and then none is looked at.

        Raises as `TokenVerifier.verify` does.
        """
        return None if self._verifier is None else await self._verifier.verify(token)

    def permissions_for(self, identity: Identity | None) -> Permissions:
        """Return what a client with a token may, or one without."""
        if identity is None:
            return self._nothing if self.is_required else self._everything
        return Permissions(identity.rooms, identity.caps, self._is_client_id)

    def permissions_of(self, client_id: str) -> Permissions:
        """Return what a connected client may; one that is gone may nothing."""
        grant = self._grants.get(client_id)
        return self.permissions_for(None) if grant is None else grant.permissions

    def grant(self, client_id: str, identity: Identity | None) -> None:
        """Let a client be, from now on, who its token says; whatever it was before is over."""
        if identity is None:
            return
        grant = _Grant(identity, self.permissions_for(identity))
        self._grants[client_id] = grant
        end = identity.expires_at
        for at, closes in ((end - WARN_BEFORE, False), (end + CLOSE_AFTER, True)):
            heapq.heappush(self._due, (at, next(self._order), client_id, grant, closes))
        self._tidy_due()

    def check_renewal(self, client_id: str, identity: Identity) -> None:
        """Check that a token may take the place of the client's present one.

        Raises:
            Forbidden: it is another user's.
        """
        grant = self._grants.get(client_id)
        if grant is None or grant.identity.user_id != identity.user_id:
            raise Forbidden("The token is another user's; connect anew with it.")

    def forget(self, client_id: str) -> None:
        """Take everything from a client that is gone. Idempotent."""
        self._grants.pop(client_id, None)
        self._tidy_due()

    def _tidy_due(self) -> None:
        """Drop what is due about former grants once it is as much as about the present ones.

        A client may renew its token many times a second, and each may be of 8 KB.
        """
        if len(self._due) > 4 * len(self._grants) + _FEW_DUE:
            self._due = [one for one in self._due if self._grants.get(one[2]) is one[3]]
            heapq.heapify(self._due)

    def due(self) -> tuple[list[tuple[str, Identity]], list[str]]:
        """Return whose token ends soon, each token once, and whose is over for good."""
        now = self._clock.now()
        ending: list[tuple[str, Identity]] = []
        over: list[str] = []
        while self._due and self._due[0][0] <= now:
            _, _, client_id, grant, closes = heapq.heappop(self._due)
            if self._grants.get(client_id) is not grant:
                continue
            if closes:
                over.append(client_id)
            else:
                ending.append((client_id, grant.identity))
        return ending, over
