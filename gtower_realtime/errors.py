"""The refusals of the product, one class each: code, HTTP status, and whether a retry makes sense.

The core raises these; the edges (HTTP answer, Socket.IO acknowledgement, `exception` event,
`connect_error`) show them, always through :meth:`RealtimeError.as_dict`. Example row:

    class UnknownClient(RealtimeError):
        '''Nobody with this id is connected or able to come back. Look the id up again.'''
        code, http_status = "unknown_client", 404
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class RealtimeError(Exception):
    """A refusal that its caller is told about. ``message`` is shown to that caller as it is.

    ``fields`` maps the path of each wrong field to what is wrong with it. ``headers`` are added to
    an HTTP answer (``Allow``, ``Retry-After``).
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = dict(fields) if fields else None
        self.headers = dict(headers) if headers else {}

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"code", "message", "retryable", "fields"?}``, the shape of every refusal."""
        shape: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.fields:
            shape["fields"] = self.fields
        return shape


class InternalError(RealtimeError):
    """A fault of ours. Details are in the server's log under the request id; try again later."""

    code, http_status, retryable = "internal_error", 500, True


class InvalidJson(RealtimeError):
    """The body is not JSON as RFC 8259 has it (finite numbers, valid Unicode, 32 levels)."""

    code, http_status = "invalid_json", 400


class ValidationFailed(RealtimeError):
    """A value has the wrong type, length or form; ``fields`` says which. Mend it and send again."""

    code, http_status = "validation_error", 400


class ReservedEvent(RealtimeError):
    """The name belongs to Socket.IO or to the server. Choose another event name."""

    code, http_status = "reserved_event", 400


class InvalidName(RealtimeError):
    """A name in the path is empty, too long or has control characters. Choose another name."""

    code, http_status = "invalid_name", 400


class Unauthorized(RealtimeError):
    """No API key was sent, or an unknown one. Send ``X-API-Key``; a webhook: its signature."""

    code, http_status = "unauthorized", 401


class MissingToken(RealtimeError):
    """Clients need a token here. Connect with ``auth: {token}``."""

    code, http_status = "missing_token", 401


class InvalidToken(RealtimeError):
    """The token is not one of ours, or not for here. Get another; this one will never pass."""

    code, http_status = "invalid_token", 401


class TokenExpired(RealtimeError):
    """The token was good and its time is over. Get a new one."""

    code, http_status = "token_expired", 401


class Forbidden(RealtimeError):
    """The caller is known, and may not do this."""

    code, http_status = "forbidden", 403


class UnknownClient(RealtimeError):
    """Nobody with this id is connected or able to come back. Look the id up again."""

    code, http_status = "unknown_client", 404


class UnknownEventId(RealtimeError):
    """No event with this id is known, or it is too long ago. Ask soon, and with the `id`."""

    code, http_status = "unknown_event_id", 404


class NotFound(RealtimeError):
    """There is no such path. Look at the documented ones."""

    code, http_status = "not_found", 404


class MethodNotAllowed(RealtimeError):
    """The path exists and takes another method; ``Allow`` says which."""

    code, http_status = "method_not_allowed", 405


class IdempotencyInFlight(RealtimeError):
    """The first request with this key is being worked on. Ask again in a moment."""

    code, http_status, retryable = "idempotency_in_flight", 409, True


class IdempotencyMismatch(RealtimeError):
    """The key was used with another body or another `wait`. Use a new key for a new request."""

    code, http_status = "idempotency_mismatch", 422


class TooLarge(RealtimeError):
    """The body is over the limit. Send less."""

    code, http_status = "too_large", 413


class UnsupportedMediaType(RealtimeError):
    """The body is not declared as JSON. Send ``Content-Type: application/json``."""

    code, http_status = "unsupported_media_type", 415


class RateLimited(RealtimeError):
    """Too much in too little time. Wait for ``Retry-After`` seconds."""

    code, http_status, retryable = "rate_limited", 429, True


class Draining(RealtimeError):
    """The server is going down; nothing was stored. Ask again, another process answers."""

    code, http_status, retryable = "draining", 503, True

    def __init__(self, message: str) -> None:
        # On this connection the same process would answer.
        super().__init__(message, headers={"Retry-After": "1", "Connection": "close"})


class Overloaded(RealtimeError):
    """The server has no room for this now; nothing was stored. Ask again later."""

    code, http_status, retryable = "overloaded", 503, True


class StoreUnavailable(RealtimeError):
    """The event could not be recorded, so nobody saw it. Ask again later."""

    code, http_status, retryable = "store_unavailable", 503, True


class UnknownEvent(RealtimeError):
    """A client sent an event that the server does not know. The message names the nearest one."""

    code, http_status = "unknown_event", 400


class TooManyRooms(RealtimeError):
    """The client is in as many rooms as it may be. Leave one first."""

    code, http_status = "too_many_rooms", 400


def refusal_of(shape: Mapping[str, Any]) -> RealtimeError:
    """Return the refusal that :meth:`RealtimeError.as_dict` has told of."""
    kinds = {kind.code: kind for kind in RealtimeError.__subclasses__()}
    kind = kinds.get(shape["code"], InternalError)
    refusal = kind.__new__(kind)
    RealtimeError.__init__(refusal, shape["message"], fields=shape.get("fields"))
    return refusal


class StoreUnusable(Exception):
    """The store is not for this process: of a newer version, taken by another, not readable.

    It stops the start; ``message`` says what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
