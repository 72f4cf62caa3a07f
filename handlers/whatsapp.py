"""Meta's webhook: verified, stored, answered; the rest happens behind the answer.

It has rules of its own: no API key, Origin or Host counts here, the signature does.
"""

from typing import Any, Protocol

from gtower_realtime.answers import Replayed, WebhookReceived
from gtower_realtime.errors import (
    Forbidden,
    NotFound,
    Overloaded,
    StoreUnavailable,
    TooLarge,
    Unauthorized,
)
from gtower_realtime.schemas import ReplaySchema, load
from gtower_realtime.timestamps import milliseconds, parse_timestamp
from handlers.base import ApiHandler, BaseHandler, HttpContext
from handlers.routes import Parameter, Route

MAX_WEBHOOK_BYTES = 3 * 1024 * 1024
"""What Meta sends at most."""

_SIGNATURE = "X-Hub-Signature-256"
_REPLAY_SCHEMA = ReplaySchema()
_TEXT = {"type": "string"}
_HANDSHAKE = (
    Parameter("hub.mode", "`subscribe`.", _TEXT),
    Parameter("hub.verify_token", "The verify token of the settings.", _TEXT),
    Parameter("hub.challenge", "What the answer is to be.", _TEXT),
)


class Webhook(Protocol):
    """What the handlers ask of `whatsapp.webhook.WhatsAppWebhook`."""

    def is_subscription(self, mode: str, verify_token: str) -> bool: ...

    def is_signed(self, body: bytes, presented: str | None) -> bool: ...

    async def receive(self, body: bytes) -> None: ...

    async def replay(self, since: int | None) -> int: ...


class WebhookHandler(BaseHandler):
    """Where Meta tells of WhatsApp messages and of what has become of ours."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take the ``webhook``, None if there is none, besides what all handlers take."""
        super().initialize(context, route)
        self._webhook: Webhook | None = row["webhook"]

    def set_default_headers(self) -> None:
        """Let pages of any origin see the answer, as the test page opened from disk does."""
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")

    def prepare(self) -> None:
        """Refuse what cannot be Meta's before any of the body is read."""
        webhook = self._of_meta()
        super().prepare()
        if self.request.method == "POST" and not self._presented():
            webhook.is_signed(b"", None)  # counts it like a wrong one
            raise _not_signed()

    def max_body_bytes(self) -> int:
        """Return the limit of this route, whatever that of the others is."""
        return MAX_WEBHOOK_BYTES

    def get(self) -> None:
        """Answer Meta's handshake with its challenge.

        Raises:
            NotFound: the webhook is not configured.
            Forbidden: it is no handshake with our token.
        """
        webhook = self._of_meta()
        mode, token, challenge = (
            self.get_query_argument(f"hub.{name}", "", strip=False)
            for name in ("mode", "verify_token", "challenge")
        )
        if not webhook.is_subscription(mode, token) or not challenge:
            raise Forbidden("This is no handshake of the webhook with the right verify token.")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(challenge)

    def options(self) -> None:
        """Answer a browser's preflight request."""
        self.set_status(204)
        self.set_header("Access-Control-Allow-Headers", f"Content-Type, {_SIGNATURE}")
        self.set_header("Access-Control-Max-Age", "600")
        self.finish()

    async def post(self) -> None:
        """Store a signed body and answer 200; what is in it is published after that.

        Raises:
            NotFound: the webhook is not configured.
            Unauthorized: the body is not signed with an app secret.
            StoreUnavailable, Overloaded: it is not stored, and should come again.
        """
        webhook = self._of_meta()
        body = self.body()
        if not webhook.is_signed(body, self._presented()):
            raise _not_signed()
        await webhook.receive(body)
        self.reply(200, {"success": True})

    def _presented(self) -> str | None:
        return self.request.headers.get(_SIGNATURE)

    def _of_meta(self) -> Webhook:
        if self._webhook is None:
            raise _not_configured()
        return self._webhook


class ReplayHandler(ApiHandler):
    """Works through stored WhatsApp webhooks again; what was published of them stays so, once."""

    scope = "admin"

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take the ``webhook``, None if there is none, besides what all handlers take."""
        super().initialize(context, route)
        self._webhook: Webhook | None = row["webhook"]

    async def post(self) -> None:
        """Answer 200 with ``replayed``: how many; all set aside, or all received ``since``.

        Raises:
            NotFound: the webhook is not configured.
        """
        if self._webhook is None:
            raise _not_configured()
        since = load(_REPLAY_SCHEMA, self.json_object()).get("since")
        count = await self._webhook.replay(
            None if since is None else milliseconds(parse_timestamp(since))
        )
        self.reply(200, {"success": True, "message": "Webhooks replayed", "replayed": count})


def _not_configured() -> NotFound:
    return NotFound(
        "There is no WhatsApp webhook here: GTOWER_WHATSAPP_APP_SECRET and "
        "GTOWER_WHATSAPP_VERIFY_TOKEN are not set."
    )


def _not_signed() -> Unauthorized:
    return Unauthorized(f"{_SIGNATURE} is not the body's signature with an app secret.")


def routes(webhook: Webhook | None) -> list[Route]:
    """Return the routes of the webhook; all of them are 404 without one."""
    arguments = {"webhook": webhook}
    return [
        Route(
            "/whatsapp/webhook",
            WebhookHandler,
            arguments,
            parameters=_HANDSHAKE,
            media_type={"get": "text/plain"},
            answer={"post": WebhookReceived()},
            refusals=(
                Unauthorized,
                Forbidden,
                NotFound,
                TooLarge,
                StoreUnavailable,
                Overloaded,
            ),
        ),
        Route(
            "/whatsapp/replay",
            ReplayHandler,
            arguments,
            body=_REPLAY_SCHEMA,
            answer=Replayed(),
            refusals=(NotFound, StoreUnavailable, Overloaded),
        ),
    ]
