"""The typed events: what the TypeScript compiler makes of right and of wrong programs."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime.events.client import CLIENT_EVENTS
from gtower_realtime.events.server import SERVER_EVENTS
from handlers import typescript
from tests.javascript_client import ROOT

COMPILER = ROOT / "node_modules" / "typescript" / "bin" / "tsc"
PROGRAMS = ROOT / "tests" / "typescript"
OPTIONS = (
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--skipLibCheck",
    "false",
    "--pretty",
    "false",
)


@pytest.fixture(name="project")
def project_of_a_user(tmp_path: Path) -> Path:
    """Give a folder with the declarations beside the stock client."""
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "events.d.ts").write_text(typescript.declarations(), encoding="utf-8")
    return tmp_path


def compiled(node: str, project: Path, program: str) -> list[str]:
    """Compile a program of :data:`PROGRAMS`; return ``line: code`` for each error."""
    assert COMPILER.is_file(), "typescript is missing: run `make install`"
    source = project / program
    source.write_text((PROGRAMS / program).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [node, COMPILER, *OPTIONS, program],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    errors = re.findall(r"^(\S+)\((\d+),\d+\): error TS(\d+)", done.stdout, re.MULTILINE)
    assert bool(errors) == bool(done.returncode), done.stdout
    assert {file for file, _, _ in errors} <= {program}, done.stdout
    return [f"{line}: TS{code}" for _, line, code in errors]


def test_right_use_compiles(node: str, project: Path) -> None:
    assert compiled(node, project, "right.ts") == []


def test_each_wrong_use_is_an_error_at_its_line(node: str, project: Path) -> None:
    lines = (PROGRAMS / "wrong.ts").read_text(encoding="utf-8").splitlines()
    expected = [number for number, line in enumerate(lines, 1) if "// wrong:" in line]
    found = compiled(node, project, "wrong.ts")
    assert sorted({int(error.partition(":")[0]) for error in found}) == expected, found
    assert len(expected) == 15


@pytest.mark.gen_test
async def test_the_server_serves_the_declarations(
    http_client: AsyncHTTPClient, base_url: str
) -> None:
    answer = await http_client.fetch(f"{base_url}/events.d.ts")
    assert answer.body.decode() == typescript.declarations()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def members(interface: str) -> list[str]:
    """Return the names of the members of an interface."""
    body = typescript.declarations().partition(f"export interface {interface} {{\n")[2]
    body = body.partition("\n}\n")[0]
    return [name.strip('"') for name in re.findall(r'^  ("?[\w:]+"?)\??:', body, re.MULTILINE)]


def test_every_event_of_the_tables_is_declared() -> None:
    assert members("ServerToClientEvents") == list(SERVER_EVENTS)
    assert members("ClientToServerEvents") == list(CLIENT_EVENTS)


def test_comments_tell_what_the_tables_tell() -> None:
    assert "  /** A notice to show. It is recorded. */\n  notification:" in (
        typescript.declarations()
    )
    assert "  /** Join a room. */\n  joinRoom:" in typescript.declarations()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "unknown"),
        ({"type": "integer"}, "number"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"enum": ["a", 1, True]}, '"a" | 1 | true'),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
        ({"type": "array"}, "unknown[]"),
        ({"type": "object"}, "Record<string, unknown>"),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "Record<string, number>",
        ),
        ({"$ref": "#/components/schemas/Room"}, "Room"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/x/Room"}]}, "string | Room"),
        (
            {"type": "object", "properties": {"a-b": {}, "c": {}}, "required": ["c"]},
            '{\n  "a-b"?: unknown;\n  c: unknown;\n}',
        ),
    ],
)
def test_a_schema_becomes_a_type(schema: dict[str, Any], expected: str) -> None:
    assert typescript.type_of(schema) == expected
