"""What all HTTP answers share: request id, headers, errors in one shape, bounded bodies.

`BaseHandler` is for everything; `ApiHandler` adds keys, CORS and JSON for the HTTP API.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar

import structlog
from tornado.web import HTTPError, RequestHandler

from gtower_realtime import strict_json
from gtower_realtime.bodies import BoundedBodyHandler
from gtower_realtime.errors import (
    Forbidden,
    InternalError,
    InvalidJson,
    InvalidName,
    MethodNotAllowed,
    RateLimited,
    RealtimeError,
    UnsupportedMediaType,
    ValidationFailed,
)
from gtower_realtime.health import LoopHealth
from gtower_realtime.identity import ApiKeys, ApiRates, Scope
from gtower_realtime.metrics import Metrics
from gtower_realtime.names import MAX_ROOM_NAME, problem_with_name
from gtower_realtime.origins import LOCAL_HOSTS, OriginPolicy
from gtower_realtime.peers import told_missing
from gtower_realtime.schemas import WHOLE
from gtower_realtime.service import RealtimeService
from gtower_realtime.setting_values import ApiKey

logger = structlog.get_logger(__name__)

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE)
_CONTROL_METHODS = frozenset({"PUT", "DELETE"})
_METHODS = ("GET", "POST", "PUT", "DELETE")


@dataclass(slots=True)
class HttpContext:
    """What the handlers of one application share. A reload changes the last two."""

    service: RealtimeService
    api_keys: ApiKeys
    api_rates: ApiRates
    origins: OriginPolicy
    metrics: Metrics
    loop: LoopHealth
    max_body_bytes: int
    checks_host: bool


class BaseHandler(BoundedBodyHandler):
    """Answers errors as JSON with the truth in the status, and bounds bodies from their headers.

    ``route`` is the label under which requests are counted.
    """

    route: str

    def initialize(self, context: HttpContext, route: str, **_row: Any) -> None:
        """Take what the route hands over; Tornado calls this before anything else."""
        self.context = context
        self.route = route

    def set_default_headers(self) -> None:
        """Say nothing of the software, and forbid guessing of types."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Request-Id", self.request_id())

    def prepare(self) -> None:
        """Check the size that the headers announce, before any of the body is read."""
        self.begin_log_context()
        self.check_declared_body()

    def begin_log_context(self) -> None:
        """Have all that is logged for this request tell its id; the first thing in `prepare`."""
        structlog.contextvars.bind_contextvars(request_id=self.request_id())

    def max_body_bytes(self) -> int:
        """Return the limit of this route; 0 in the settings is no limit."""
        return self.context.max_body_bytes or 1 << 62

    # Answers

    def reply(self, status: int, answer: Any) -> None:
        """End the request with a JSON answer.

        Raises:
            ValueError: ``answer`` cannot be said in JSON.
        """
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(strict_json.dumps(answer))

    def head(self, **names: str) -> Any:
        """Answer as GET does; Tornado leaves the body out."""
        return self.get(**names)

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer any error in the one shape; see PRODUCT.md section 4."""
        _, problem, _ = details.get("exc_info", (None, None, None))
        refusal = self._as_refusal(status_code, problem)
        self.context.metrics.http_refused.labels(refusal.code).inc()
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.reply(
            refusal.http_status,
            {
                "success": False,
                "message": refusal.message,
                "error": refusal.as_dict(),
                "requestId": self.request_id(),
            },
        )

    def _as_refusal(self, status_code: int, problem: BaseException | None) -> RealtimeError:
        if isinstance(problem, RealtimeError):
            return problem
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return self.method_refusal()
        if isinstance(problem, HTTPError) and status_code == HTTPStatus.BAD_REQUEST:
            # Tornado's own: an escape in the path or the query that is no UTF-8.
            return InvalidName("The URL has a part that is not UTF-8.")
        return InternalError("The server failed; try again later.")

    def method_refusal(self) -> RealtimeError:
        """Return the refusal of a method that the handler does not have."""
        allowed = [
            method
            for method in _METHODS
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
        ]
        return MethodNotAllowed(
            f"{self.request.method} is not allowed here; use {' or '.join(allowed)}.",
            headers={"Allow": ", ".join([*allowed, "OPTIONS"])},
        )

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log faults of ours once; a refusal is an answer, and counted as such."""
        if not isinstance(value, RealtimeError | HTTPError):
            logger.error(
                "request_failed",
                route=self.route,
                exc_info=(typ, value, tb),
            )


class ApiHandler(BaseHandler):
    """A handler of the HTTP API: asks for a key with :attr:`scope`, speaks JSON, answers CORS."""

    scope: ClassVar[Scope]
    """What the key of a caller must allow; see :meth:`scope_for`."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take what the route hands over."""
        super().initialize(context, route, **row)
        self._add_cors_headers()

    def clear(self) -> None:
        """Begin the answer anew, as for an error; Tornado does so once before `initialize`."""
        super().clear()
        if hasattr(self, "context"):
            self._add_cors_headers()

    def prepare(self) -> None:
        """Check, in this order, the caller's origin, the host, the key and the body's size."""
        self.begin_log_context()
        self._check_origin()
        self._check_host()
        self.api_key: ApiKey | None = None
        if self.request.method != "OPTIONS":
            scope = self.scope_for(self.request.method or "")
            self.api_key = self.context.api_keys.authorize(self._presented_key(), scope)
            if self.api_key is not None:
                self._check_rate(self.api_key)
        self.check_declared_body()

    async def roll_call(self) -> dict[str, Any]:
        """Wait until what has happened at other processes is known here.

        Returns what is to be added to the answer: nothing, or which of them did not tell.
        """
        return told_missing(await self.context.service.gathering.roll_call())

    def _check_rate(self, key: ApiKey) -> None:
        try:
            self.context.api_rates.check(key)
        except RateLimited:
            self.context.metrics.rate_limited.labels("api").inc()
            raise

    @classmethod
    def scope_for(cls, method: str) -> Scope:
        """Return the scope that a key needs for a method: to change or delete takes ``admin``."""
        return "admin" if method in _CONTROL_METHODS else cls.scope

    def set_default_headers(self) -> None:
        """Let nobody store the answer."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def _add_cors_headers(self) -> None:
        origin = self.request.headers.get("Origin")
        for name, value in self.context.origins.response_headers(origin).items():
            self.set_header(name, value)
        self.set_header(
            "Access-Control-Expose-Headers",
            "X-Request-Id, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, "
            "Idempotency-Replayed, X-Partial, X-Nodes-Missing",
        )

    def compute_etag(self) -> str | None:
        """Compute none: an answer of the API is never the same twice."""
        return None

    def options(self, **_names: str) -> None:
        """Answer a browser's preflight request."""
        self.set_status(HTTPStatus.NO_CONTENT)
        self.set_header("Access-Control-Allow-Methods", ", ".join(_METHODS))
        self.set_header(
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-Id",
        )
        self.set_header("Access-Control-Max-Age", "600")
        self.finish()

    def json_object(self) -> dict[str, Any]:
        """Return the body, a JSON object; no body is an empty one.

        Raises:
            UnsupportedMediaType: the body is declared as something else than JSON.
            InvalidJson: it is not strict JSON.
            ValidationFailed: it is another JSON value than an object.
        """
        body = self.body()
        if not body.strip():
            return {}
        declared = self.request.headers.get("Content-Type", "application/json")
        if not _JSON_TYPE.fullmatch(declared.partition(";")[0].strip()):
            raise UnsupportedMediaType(
                f"The body is declared as {declared[:100]!r}; send JSON with "
                "-H 'Content-Type: application/json'."
            )
        try:
            value = strict_json.loads(body)
        except ValueError as problem:
            raise InvalidJson(f"The body is not JSON: {problem}.") from None
        if not isinstance(value, dict):
            sentence = "The body must be a JSON object."
            raise ValidationFailed(sentence, fields={WHOLE: [sentence]})
        return value

    def limit(self, largest: int) -> int | None:
        """Return the ``limit`` of the query, None when there is none.

        Raises:
            ValidationFailed: it is not a whole number from 1 to ``largest``.
        """
        text = self.get_query_argument("limit", None)
        if text is None:
            return None
        # isdigit alone takes digits of other scripts; the length spares int() from a huge number.
        if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= largest:
            return int(text)
        sentence = f"Must be a whole number from 1 to {largest}."
        raise ValidationFailed(f"limit: {sentence}", fields={"limit": [sentence]})

    def check_name(self, parameter: str, name: str, longest: int = MAX_ROOM_NAME) -> None:
        """Check a name that stands in the path.

        Raises:
            InvalidName: it is too long or has control characters.
        """
        problem = problem_with_name(name, longest)
        if problem is not None:
            raise InvalidName(f"{parameter} in the path {problem}.")

    def _presented_key(self) -> str | None:
        key = self.request.headers.get("X-API-Key")
        if key is not None:
            return key
        scheme, _, credentials = self.request.headers.get("Authorization", "").partition(" ")
        return credentials.strip() if scheme.lower() == "bearer" else None

    def _check_origin(self) -> None:
        if not self.context.origins.allows(self.request.headers.get("Origin")):
            raise Forbidden("Pages of this origin may not call this server; see CORS_ORIGIN.")

    def _check_host(self) -> None:
        # Without keys the loopback address is the only guard, and a page whose name was made to
        # resolve to it (DNS rebinding) would be inside.
        if self.context.checks_host and self.request.host_name not in LOCAL_HOSTS:
            raise Forbidden("Without API keys this server answers to the name localhost only.")
