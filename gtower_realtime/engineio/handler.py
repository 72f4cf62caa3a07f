"""What the handlers of both transports share: the server, and the forms of a refusal."""

from typing import TYPE_CHECKING, Any

import structlog
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from gtower_realtime import strict_json
from gtower_realtime.bodies import BoundedBodyHandler
from gtower_realtime.engineio.handshake import BAD_METHOD, BAD_REQUEST, HandshakeRefused
from gtower_realtime.errors import InternalError, RealtimeError

if TYPE_CHECKING:
    from gtower_realtime.engineio.server import EngineIOServer

logger = structlog.get_logger(__name__)


class EngineIOHandler(BoundedBodyHandler):
    """A request to the Engine.IO path.

    Engine.IO's errors are answered as ``{"code", "message"}``, all others in the form of the
    product.
    """

    _engineio: "EngineIOServer"

    def initialize(self, engineio: "EngineIOServer") -> None:
        """Take the server; Tornado calls this before anything else."""
        self._engineio = engineio

    def set_default_headers(self) -> None:
        """Say nothing of the software, and let nobody store the answer."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer a refusal."""
        _, problem, _ = details.get("exc_info", (None, None, None))
        refusal = _as_refusal(problem)
        self._engineio.count_refusal(self.request, refusal)
        self.set_status(refusal.http_status)
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Request-Id", self.request_id())
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.finish(_body(refusal, self.request_id()))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log faults of ours once; a refusal is an answer."""
        if not isinstance(value, HandshakeRefused | RealtimeError | HTTPError | StreamClosedError):
            # Without the URL, whose query may have a token.
            logger.error("request_failed", route="/socket.io/", exc_info=(typ, value, tb))


def _as_refusal(problem: BaseException | None) -> HandshakeRefused | RealtimeError:
    if isinstance(problem, HTTPError):
        # Tornado's own, for what is none of its methods or no valid text.
        return HandshakeRefused(BAD_METHOD if problem.status_code == 405 else BAD_REQUEST)
    if isinstance(problem, HandshakeRefused | RealtimeError):
        return problem
    return InternalError("The server failed; try again later.")


def _body(refusal: HandshakeRefused | RealtimeError, request_id: str) -> str:
    if isinstance(refusal, HandshakeRefused):
        return strict_json.dumps(refusal.as_dict())
    return strict_json.dumps(
        {
            "success": False,
            "message": refusal.message,
            "error": refusal.as_dict(),
            "requestId": request_id,
        }
    )
