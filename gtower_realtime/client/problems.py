"""What can go wrong with a call, as exceptions. Example row:

class Unauthorized(Refused):
    '''No API key was sent, or an unknown one. Give the client an ``api_key``.'''
"""

from collections.abc import Mapping
from typing import Any


class RealtimeClientError(Exception):
    """A call that did not succeed.

    ``code`` is the server's word for it, or one of ours; ``status`` the HTTP status, None when
    there was no answer, or when it is about one event of a batch. ``retryable`` says whether the
    same call may succeed later; the client has tried already as often as it may. After an error
    that does not tell whether the event was sent, the call can be made again with
    ``idempotency_key``, and nothing is sent twice.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",  # as all others, so that the exception can be pickled, as task queues do
        status: int | None = None,
        retryable: bool = False,
        fields: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.retryable = retryable
        self.fields = dict(fields or {})
        """Each wrong field's dotted path, and the sentences about it."""
        self.request_id = request_id
        """Faults of the server have it in its log."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.message}{request}"


class ServerUnreachable(RealtimeClientError):
    """No answer: no connection, a time-out, a connection that was cut. It may have been done."""


class UnexpectedAnswer(RealtimeClientError):
    """An answer that is not the server's: look at the URL, and at what stands in between."""


class Refused(RealtimeClientError):
    """The server has refused; nothing was sent. The base of all refusals."""


class InvalidRequest(Refused):
    """400, 405, 413, 415: the request is wrong, ``fields`` says where. Mend it."""


class Unauthorized(Refused):
    """401: no API key was sent, or an unknown one. Give the client an ``api_key``."""


class Forbidden(Refused):
    """403: the key's scopes or room prefixes do not allow this."""


class NotFound(Refused):
    """404: there is no such thing, or nothing at this path of the server."""


class UnknownClient(NotFound):
    """404: nobody with this id is connected or able to come back. Look the id up again."""


class Conflict(Refused):
    """409, 422: the idempotency key is in use by a request at work, or by one with another body."""


class RateLimited(Refused):
    """429: too many requests with this key. Wait for ``retry_after`` seconds."""


class ServerUnavailable(Refused):
    """503: going down, overloaded, or the log cannot be written. Nobody has seen the event."""


class ServerFailed(Refused):
    """500 and the like: a fault of the server, or of a proxy before it."""


_BY_CODE: dict[str, type[Refused]] = {
    "unknown_client": UnknownClient,
    # Those that stand in a batch, where a refusal has no status.
    "forbidden": Forbidden,
    "idempotency_in_flight": Conflict,
    "idempotency_mismatch": Conflict,
    "draining": ServerUnavailable,
    "overloaded": ServerUnavailable,
    "store_unavailable": ServerUnavailable,
    "internal_error": ServerFailed,
}

_BY_STATUS: dict[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Conflict,
    429: RateLimited,
    503: ServerUnavailable,
}


def refusal_class(code: str, status: int | None) -> type[Refused]:
    """Return the class for a refusal of the server."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServerFailed if status is not None and status >= 500 else InvalidRequest
