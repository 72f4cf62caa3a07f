"""One GET of a document at another server: bounded in time and size, and never led elsewhere."""

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient


class NotThere(OSError):
    """The server answers 404."""


async def fetch(url: str, *, timeout_seconds: float, max_bytes: int) -> bytes:
    """Return the body behind ``url``, of at most ``max_bytes``, within ``timeout_seconds`` in all.

    Redirects are not followed: they would lead past the rules that the URL was checked by.

    Raises:
        NotThere: the answer is 404.
        OSError: it cannot be reached, does not answer in time, or answers anything else but 2xx.
    """
    client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=max_bytes)
    request = HTTPRequest(
        url,
        headers={"Accept": "application/json"},
        connect_timeout=timeout_seconds,
        request_timeout=timeout_seconds,
        follow_redirects=False,
        decompress_response=False,
    )
    try:
        response = await client.fetch(request)
    except HTTPClientError as problem:
        kind = NotThere if problem.code == 404 else OSError
        raise kind(str(problem)) from None
    finally:
        client.close()
    return response.body
