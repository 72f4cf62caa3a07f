"""What the commands of the webhook share: its settings, and how they call it."""

import os
from collections.abc import Mapping
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import click

from gtower_realtime.commands.options import load_settings
from gtower_realtime.commands.server_access import fail, server_url
from gtower_realtime.setting_values import url as url_value
from gtower_realtime.settings import Settings

_TIMEOUT_SECONDS = 10.0


class Answer(NamedTuple):
    """What came back; any status is an answer."""

    status: int
    body: bytes


def webhook_settings() -> Settings:
    """Return the settings of a server with a webhook; leave with EX_CONFIG if they have none."""
    settings = load_settings({})
    if not settings.whatsapp_app_secret:
        fail(
            "GTOWER_WHATSAPP_APP_SECRET and GTOWER_WHATSAPP_VERIFY_TOKEN are not set, "
            "so there is no webhook",
            os.EX_CONFIG,
        )
    return settings


def address_of(path: str) -> str:
    """Return where a server with these settings has ``path``."""
    url = server_url(None)
    if url.startswith("unix:"):
        fail(f"the server listens on {url}; --url names the address of its proxy", os.EX_USAGE)
    return url + path


def call(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Ask for ``url``, with POST if there is a body; leave with EX_UNAVAILABLE without an answer.

    Redirects are not followed: Meta follows none either.
    """
    try:
        url_value("http", "https")(url)
    except ValueError as problem:
        raise click.BadParameter(f"{url!r} {problem}") from None
    request = Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - checked above
    try:
        with build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_SECONDS) as answer:
            return Answer(answer.status, answer.read())
    except HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.read())
    except (OSError, HTTPException) as problem:
        fail(f"no answer from {url}: {problem}", os.EX_UNAVAILABLE)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
