"""What a request may be refused with, for documents: by the kind of handler, then by its row."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from gtower_realtime.errors import (
    Draining,
    Forbidden,
    IdempotencyInFlight,
    IdempotencyMismatch,
    InternalError,
    InvalidJson,
    InvalidName,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RateLimited,
    RealtimeError,
    StoreUnavailable,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
    ValidationFailed,
)
from handlers.base import ApiHandler
from handlers.routes import Route, first_paragraph
from handlers.sending import SendingHandler

_OF_THE_API = (Unauthorized, Forbidden, RateLimited)
_OF_A_BODY = (InvalidJson, ValidationFailed, TooLarge, UnsupportedMediaType)
_OF_SENDING = (
    IdempotencyInFlight,
    IdempotencyMismatch,
    Draining,
    Overloaded,
    StoreUnavailable,
)

_OF_PATHS = (NotFound, MethodNotAllowed)
"""What no operation of the document gives, as they are about what is not there."""

_HEADERS: dict[int, tuple[str, ...]] = {
    405: ("Allow",),
    429: ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining"),
    503: ("Retry-After",),
}


def refusals_of(route: Route, method: str) -> dict[int, list[type[RealtimeError]]]:
    """Return what ``method`` of ``route`` may be refused with, by rising status."""
    may_be: list[type[RealtimeError]] = [InternalError, *route.refusals]
    if issubclass(route.handler, ApiHandler):
        may_be += _OF_THE_API
        may_be += _OF_A_BODY if method == "post" else (TooLarge,)
    if issubclass(route.handler, SendingHandler):
        may_be += _OF_SENDING
    if route.names:
        may_be.append(InvalidName)
    if route.takes(method):
        may_be.append(ValidationFailed)
    by_status = defaultdict(list)
    for kind in sorted(dict.fromkeys(may_be), key=lambda one: (one.http_status, one.code)):
        by_status[kind.http_status].append(kind)
    return dict(by_status)


def kinds_of(routes: Iterable[Route]) -> list[type[RealtimeError]]:
    """Return all that requests to ``routes``, or to other paths, may be refused with."""
    kinds = [
        kind
        for route in routes
        for method in route.methods()
        for of_a_status in refusals_of(route, method).values()
        for kind in of_a_status
    ]
    return list(dict.fromkeys([*kinds, *_OF_PATHS]))


def headers_of(status: int) -> tuple[str, ...]:
    """Return the headers of a refusal with this status, besides those of all answers."""
    return _HEADERS.get(status, ())


def example(kind: type[RealtimeError]) -> dict[str, Any]:
    """Return a refusal as it is answered."""
    message = first_paragraph(kind)
    error: dict[str, Any] = {"code": kind.code, "message": message, "retryable": kind.retryable}
    if kind is ValidationFailed:
        wrong = "Missing data for required field."
        message = error["message"] = f"title: {wrong}"
        error["fields"] = {"title": [wrong]}
    return {
        "success": False,
        "message": message,
        "error": error,
        "requestId": "7f0c6a1e9b2d4c38",
    }
