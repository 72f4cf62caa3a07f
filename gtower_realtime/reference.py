"""The reference tables of the documentation, in Markdown, made of the tables of the code.

A row that is added to one of those shows here by itself. In a document a table stands between
markers, and `replace_sections` renews it; knows no files. Example section:

    <!-- begin settings -->
    …
    <!-- end settings -->
"""

import re
from collections.abc import Iterable
from typing import Any

from gtower_realtime import errors
from gtower_realtime.errors import RealtimeError
from gtower_realtime.events.client import CLIENT_EVENTS
from gtower_realtime.events.server import SERVER_EVENTS, ServerEvent
from gtower_realtime.metrics import MetricRow, Metrics
from gtower_realtime.service import RealtimeService
from gtower_realtime.settings import SettingRow, rows
from handlers import api
from handlers.base import ApiHandler, BaseHandler
from handlers.routes import Route, first_paragraph
from handlers.triggers import TRIGGERS, Trigger

_SECTION = re.compile(
    r"(?P<begin><!-- begin (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL
)
_PARAMETER = re.compile(r":[A-Za-z]+")


def sections() -> dict[str, str]:
    """Return each table by the name that its markers have."""
    return {
        "client-events": client_events(),
        "server-events": server_events(),
        "triggers": triggers(TRIGGERS),
        "reads": requests(route for module in api.OTHERS for route in module.routes()),
        "errors": refusals(),
        "settings": settings(rows()),
        "metrics": metrics(Metrics().rows()),
    }


def replace_sections(document: str) -> str:
    """Return ``document`` with what stands between its markers made anew.

    Raises:
        ValueError: a pair of markers has a name that is none of :func:`sections`.
    """
    tables = sections()

    def renewed(section: re.Match[str]) -> str:
        if section["name"] not in tables:
            raise ValueError(
                f"there is no section {section['name']!r}; there are {', '.join(tables)}"
            )
        return f"{section['begin']}\n{tables[section['name']]}\n{section['end']}"

    return _SECTION.sub(renewed, document)


def client_events() -> str:
    """Return the table of what clients may say."""
    return _table(
        ("Event", "Argument", "To", "What the server does"),
        (
            (
                f"`{row.name}`",
                "none" if row.schema is None else _first_sentence(row.schema).rstrip("."),
                row.doc,
                first_paragraph(getattr(RealtimeService, row.method)),
            )
            for row in CLIENT_EVENTS.values()
        ),
    )


def server_events() -> str:
    """Return the table of what the server says."""
    return _table(
        ("Event", "Meaning", "Sent by", "Recorded", "Body, when a back-end sends it"),
        (
            (
                f"`{row.name}`",
                row.doc,
                "back-ends" if row.from_backends else "the server",
                "yes" if row.stored else "no",
                _body_of(row),
            )
            for row in SERVER_EVENTS.values()
        ),
    )


def triggers(table: Iterable[Trigger]) -> str:
    """Return the table of the endpoints that send an event."""
    return _table(
        ("Endpoint", "Event", "`message` of the answer"),
        (
            (
                f"`POST {row.path}`",
                f"`{row.event or ':eventName'}`",
                row.message.format(*_PARAMETER.findall(row.path)),
            )
            for row in table
        ),
    )


def requests(routes: Iterable[Route]) -> str:
    """Return the table of the other endpoints, by what their handlers say of themselves."""
    return _table(
        ("Endpoint", "Scope of the key", "What it tells"),
        (
            (
                f"`{method.upper()} {route.path}`",
                _scope(route.handler, method),
                route.description(method),
            )
            for route in routes
            for method in route.methods()
        ),
    )


def _scope(handler: type[BaseHandler], method: str) -> str:
    return f"`{handler.scope_for(method.upper())}`" if issubclass(handler, ApiHandler) else "open"


def refusals() -> str:
    """Return the table of errors, by rising status."""
    classes = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, RealtimeError) and each is not RealtimeError
    ]
    return _table(
        ("Code", "Status", "Retry?", "What it means, and what to do"),
        (
            (
                f"`{each.code}`",
                str(each.http_status),
                "yes" if each.retryable else "no",
                first_paragraph(each),
            )
            for each in sorted(classes, key=lambda each: each.http_status)
        ),
    )


def settings(table: Iterable[SettingRow]) -> str:
    """Return the table of settings, in the order of their declaration."""
    return _table(
        ("Variable", "Default", "Meaning"),
        (
            (
                f"`{row.name}`" + (f" (also `{row.also}`)" if row.also else ""),
                "none" if row.default == "none" else f"`{row.default}`",
                _plain(row.documentation)
                + (f" ({row.unit})" if row.unit else "")
                + (" · secret" if row.is_secret else "")
                + (" · reload" if row.reloads else ""),
            )
            for row in table
        ),
    )


def metrics(table: Iterable[MetricRow]) -> str:
    """Return the table of metrics, in the order of the exposition."""
    return _table(
        ("Metric", "Kind", "Labels", "Meaning"),
        (
            (
                f"`{row.name}`",
                row.kind,
                ", ".join(f"`{label}`" for label in row.labels),
                row.documentation,
            )
            for row in table
        ),
    )


def _body_of(row: ServerEvent) -> str:
    if not row.from_backends:
        return ""
    if row.schema is None:
        return "any JSON object"
    return ", ".join(
        f"`{name}`" + ("" if field.required else " (optional)")
        for name, field in row.schema.fields.items()
    )


def _first_sentence(documented: Any) -> str:
    return re.split(r"(?<=\.) ", first_paragraph(documented), maxsplit=1)[0]


def _plain(text: str) -> str:
    """Keep Markdown from seeing marks in a text that has none."""
    return re.sub(r"[*_<\\]", r"\\\g<0>", text)


def _table(headings: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table with a line end."""
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
        for cells in (headings, ("---",) * len(headings), *lines)
    )
