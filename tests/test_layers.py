"""Who may import whom: the rooms of the house, their floors, and the arrows that are allowed."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent

EDGES = ("engineio", "gateway", "store", "cluster", "whatsapp", "key_sets", "handlers")
"""One outside technology each; none knows another, save for :data:`SIDEWAYS`."""

FLOORS = (
    # Words of the domain: values, their rules and texts.
    (
        "gtower_realtime",
        "private_apis",
        "client",
        "errors",
        "ids",
        "names",
        "timestamps",
        "strict_json",
        "addresses",
        "origins",
        "limits",
        "logs",
        "loop_lag",
        "setting_file",
        "setting_values",
        "settings",
        "schemas",
        "answers",
        "events",
    ),
    # State and rules, without input or output.
    (
        "records",
        "futures",
        "ports",
        "metrics",
        "health",
        "clients",
        "elsewhere",
        "identity",
        "permissions",
        "tokens",
    ),
    # What the server does, part by part, and then all of it as plain methods.
    (
        "window",
        "journal",
        "sessions",
        "recovery",
        "ack_waits",
        "peers",
        "trails",
        "traces",
        "publishing",
        "analytics",
        "authentication",
        "directory",
        "presence",
        "membership",
        "connections",
        "replication",
        "control",
        "gathering",
        "shared_limits",
        "idempotency",
        "batches",
        "monitor",
        "draining",
        "senders",
        "service",
    ),
    # What two of the edges share.
    ("http1", "bodies", "fetching"),
    EDGES,
    # The composition root.
    ("application",),
    # Listening, signals, commands, and the reference that is made of everybody's tables.
    ("listeners", "systemd", "unit_files", "server", "reference", "commands", "cli", "run"),
)
"""From the ground up. A room imports from lower floors, and what stands left of it on its own."""

SIDEWAYS = {("gateway", "engineio")}
"""The only arrow between two edges."""

ONLY_FROM = {
    "client": {"commands"},
    "handlers": {"application", "reference"},
    "application": {"server"},
}
"""Rooms that nobody else imports."""

TECHNOLOGIES = {
    "aiohttp": {"commands"},
    "apispec": {"handlers"},
    "asyncpg": {"store"},
    "click": {"commands", "cli"},
    "cryptography": {"tokens"},
    "engineio": {"engineio", "gateway"},
    "hiredis": {"cluster"},
    "httptools": {"http1"},
    "httpx": {"client"},
    "jwt": {"tokens"},
    "marshmallow": {"schemas", "answers", "events", "tokens", "handlers"},
    "orjson": {"strict_json", "logs"},
    "prometheus_client": {"metrics"},
    "redis": {"cluster"},
    "socketio": {"gateway", "commands"},
    "sqlalchemy": {"store"},
    "tornado": {
        "http1",
        "bodies",
        "fetching",
        "engineio",
        "gateway",
        "handlers",
        "application",
        "server",
        "whatsapp",
    },
}
"""Libraries that only these rooms know."""


def broken_rules(sources: Mapping[str, str]) -> list[str]:
    """Return one line for each import that goes where it must not, and each room without a floor.

    ``sources`` maps dotted module names to their text.
    """
    lines = []
    for module, source in sources.items():
        room = room_of(module)
        if height(room) is None:
            lines.append(f"{module}: give {room!r} a layer in FLOORS")
            continue
        problems = (problem_with_import(room, imported) for imported in imports(source, sources))
        lines += [f"{module}: {problem}" for problem in problems if problem]
    return lines


def problem_with_import(room: str, imported: str) -> str | None:
    """Say why a module of ``room`` must not import the module ``imported``; None when it may."""
    other = room_of(imported)
    if not imported.startswith(("gtower_realtime", "handlers")):
        is_known = room in TECHNOLOGIES.get(other, {room})
        return None if is_known else f"{room!r} must not know {other!r}"
    here, there = height(room), height(other)
    if room == other or here is None or there is None:
        return None
    if room not in ONLY_FROM.get(other, {room}):
        return f"only {sorted(ONLY_FROM[other])} may import {other!r}"
    if room in EDGES and other in EDGES and (room, other) not in SIDEWAYS:
        return f"{room!r} must not import its neighbour {other!r}"
    if there > here and (room, other) not in SIDEWAYS:
        return f"{room!r} must not import {other!r}, which is above it"
    return None


def room_of(module: str) -> str:
    """Return the room a module is in: ``gtower_realtime.store.memory`` is in ``store``."""
    first, *rest = module.split(".")
    return rest[0] if first == "gtower_realtime" and rest else first


def height(room: str) -> tuple[int, int] | None:
    """Return floor and place of a room, None when it has none."""
    places = ((floor, rooms.index(room)) for floor, rooms in enumerate(FLOORS) if room in rooms)
    return next(places, None)


def imports(source: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the full name of every module that ``source`` imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = any(name == inner or name.startswith(inner + ".") for name in modules)
                yield inner if is_module else str(node.module)


def project_sources() -> dict[str, str]:
    """Return the text of all modules of the project, by dotted name."""
    files = [ROOT / "run.py"]
    files += [*(ROOT / "gtower_realtime").rglob("*.py"), *(ROOT / "handlers").rglob("*.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): (
            file.read_text(encoding="utf-8")
        )
        for file in files
    }


def test_every_import_of_the_project_goes_where_it_may() -> None:
    sources = project_sources()
    assert "gtower_realtime.service" in sources
    assert broken_rules(sources) == []


def test_an_unknown_module_is_asked_to_take_a_layer() -> None:
    assert broken_rules({"gtower_realtime.utils": ""}) == [
        "gtower_realtime.utils: give 'utils' a layer in FLOORS"
    ]


def test_an_import_from_a_higher_floor_is_found() -> None:
    sources = {
        "gtower_realtime.errors": "def f():\n    from gtower_realtime import service\n",
        "gtower_realtime.service": "",
    }
    assert broken_rules(sources) == [
        "gtower_realtime.errors: 'errors' must not import 'service', which is above it"
    ]


def test_words_import_each_other_in_one_direction_only() -> None:
    sources = {
        "gtower_realtime.schemas": "from gtower_realtime.errors import ValidationFailed",
        "gtower_realtime.errors": "from gtower_realtime.schemas import load",
    }
    assert broken_rules(sources) == [
        "gtower_realtime.errors: 'errors' must not import 'schemas', which is above it"
    ]


def test_an_edge_does_not_import_its_neighbour() -> None:
    sources = {
        "gtower_realtime.engineio.server": "import gtower_realtime.gateway.server",
        "gtower_realtime.gateway.server": "import gtower_realtime.engineio.server",
        "handlers.reads": "from gtower_realtime.store.memory import MemoryEventLog",
    }
    assert broken_rules(sources) == [
        "gtower_realtime.engineio.server: 'engineio' must not import its neighbour 'gateway'",
        "handlers.reads: 'handlers' must not import its neighbour 'store'",
    ]


def test_only_the_application_and_the_reference_import_handlers() -> None:
    sources = {
        "gtower_realtime.application": "from handlers import reads",
        "gtower_realtime.server": "from handlers.reads import ROUTES",
    }
    assert broken_rules(sources) == [
        "gtower_realtime.server: only ['application', 'reference'] may import 'handlers'"
    ]


def test_a_library_is_known_to_its_rooms_only() -> None:
    sources = {
        "gtower_realtime.service": "import socketio.exceptions\nimport json",
        "gtower_realtime.gateway.server": "import socketio",
    }
    assert broken_rules(sources) == ["gtower_realtime.service: 'service' must not know 'socketio'"]
