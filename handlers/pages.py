"""The pages, and the client bundle where Node's server has it: files of the static directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gtower_realtime.errors import NotFound
from handlers.base import BaseHandler, HttpContext
from handlers.routes import Route

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".map": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        # The test page talks to whatever server its user types in.
        "connect-src 'self' http: https: ws: wss:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGES = {"/": "index.html", "/dashboard": "dashboard.html", "/docs": "docs.html"}
"""Pages that have a shorter name than their file."""

_LIBRARIES = ("uPlot.iife.min.js", "uPlot.min.css", "swagger-ui-bundle.js", "swagger-ui.css")
"""What the pages load besides the client bundle."""

_BUNDLE = (
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
)


class FileHandler(BaseHandler):
    """One file, read at each request so that an edited page shows; ETags spare the transfer."""

    def initialize(self, context: HttpContext, route: str, **row: Any) -> None:
        """Take the ``file`` besides what all handlers take."""
        super().initialize(context, route)
        self._file: Path = row["file"]

    def get(self) -> None:
        """Answer with the file.

        Raises:
            NotFound: it was not installed; the message says how to.
        """
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{self._file.name} is not installed; run `make install`.") from None
        self.set_header("Content-Type", _CONTENT_TYPES[self._file.suffix])
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.finish(content)


class BundleHandler(FileHandler):
    """A file of the client bundle, which pages of any origin load."""

    def set_default_headers(self) -> None:
        """Let module scripts of other origins import it."""
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")


def routes(directory: Path) -> list[Route]:
    """Return the routes of all pages in ``directory``, and of the client bundle."""
    pages = [
        Route(f"/{file.relative_to(directory).as_posix()}", FileHandler, {"file": file})
        for file in _page_files(directory)
    ]
    bundle = [
        Route(f"{prefix}/{name}", BundleHandler, {"file": directory / "vendor" / name})
        for prefix in ("/socket.io", "/vendor")
        for name in _BUNDLE
    ]
    libraries = [
        Route(f"/vendor/{name}", FileHandler, {"file": directory / "vendor" / name})
        for name in _LIBRARIES
    ]
    named = [Route(path, FileHandler, {"file": directory / file}) for path, file in _PAGES.items()]
    return [*named, *pages, *bundle, *libraries]


def _page_files(directory: Path) -> Iterator[Path]:
    for file in sorted(directory.rglob("*")):
        is_bundle = directory / "vendor" in file.parents
        if file.suffix in _CONTENT_TYPES and file.is_file() and not is_bundle:
            yield file
