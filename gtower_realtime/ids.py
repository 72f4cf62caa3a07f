"""Ids that nobody can guess, made of random bytes that are fetched for many at once."""

import secrets
from base64 import urlsafe_b64encode

_AT_ONCE = 256


class RandomIds:
    """Makes ids of so many random bytes, a multiple of three: four URL-safe characters for three.

    To ask the system for the bytes of one id takes longer than all that is done with it.
    """

    def __init__(self, random_bytes: int) -> None:
        if random_bytes % 3:
            raise ValueError("must be a multiple of three, which base64 does not fill up")
        self._bytes = random_bytes
        self._waiting: list[str] = []

    def new(self) -> str:
        """Return an id that was not given out before."""
        if not self._waiting:
            text = urlsafe_b64encode(secrets.token_bytes(self._bytes * _AT_ONCE)).decode()
            length = len(text) // _AT_ONCE
            self._waiting = [text[at : at + length] for at in range(0, len(text), length)]
        return self._waiting.pop()
