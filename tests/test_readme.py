"""The documentation against the code: tables, commands, snippets and names in it are true."""

import ast
import asyncio
import itertools
import json
import os
import re
import string
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from playwright.async_api import ConsoleMessage, Page
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.websocket import websocket_connect

from gtower_realtime import reference
from gtower_realtime.application import Application
from gtower_realtime.cli import main
from gtower_realtime.errors import ValidationFailed
from gtower_realtime.events.server import SERVER_EVENTS
from gtower_realtime.service import RealtimeService
from gtower_realtime.settings import Settings, rows
from handlers import operations, reads, rooms, triggers
from tests.browser import windows
from tests.conftest import PATIENCE_SECONDS, ConnectClient, ConnectedClient

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PROTOCOL = ROOT / "docs" / "protocol-by-hand.md"
EMBEDDING = ROOT / "docs" / "embedding.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

DOCUMENTED_SERVER = "http://localhost:3000"


class Block(NamedTuple):
    """A fenced block of a Markdown page."""

    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of ``page``, in their order."""
    text = page.read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]


def only_block(page: Path, language: str, containing: str = "") -> str:
    """Return the one block of this language in ``page`` that has ``containing`` in it."""
    (found,) = [
        block.text
        for block in blocks_of(page)
        if block.language == language and containing in block.text
    ]
    return found


def section_of(page: Path, heading: str) -> str:
    """Return what stands in ``page`` between ``heading`` and the next one."""
    text = page.read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]


def likeness(value: Any) -> Any:
    """Return ``value`` with what is new each time, ids, offsets and times, made equal."""
    if isinstance(value, dict):
        return {
            key: "…" if key in {"id", "sid", "pid", "offset", "requestId"} else likeness(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [likeness(each) for each in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-.*Z|[\w-]{20}|\w{8}-[\da-f]+", value):
        return "…"
    return value


def packet_likeness(packet: str) -> Any:
    """Return the digits of a packet, and the :func:`likeness` of its JSON."""
    text = packet.lstrip(string.ascii_letters + string.digits)
    digits = packet.removesuffix(text)
    return digits, likeness(json.loads(text)) if text else None


async def run(*command: str, **options: Any) -> str:
    """Run a program that must succeed and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, **options
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    return output.decode()


@asynccontextmanager
async def running(*command: str, **options: Any) -> AsyncIterator[asyncio.StreamReader]:
    """Run a program, give what it prints, and end it."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, **options
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def next_line(output: asyncio.StreamReader) -> str:
    return (await asyncio.wait_for(output.readline(), PATIENCE_SECONDS)).decode().rstrip("\n")


async def send_order(base_url: str) -> None:
    """Send the event that the snippets wait for."""
    await AsyncHTTPClient().fetch(
        f"{base_url}/websocket/event/room/sales/orderUpdated",
        method="POST",
        body='{"orderId": 1042, "state": "shipped"}',
        headers={"Content-Type": "application/json"},
    )


@pytest.fixture
def socket_io_client() -> Path:
    """Give the directory that has the stock client from npm."""
    directory = ROOT / "node_modules"
    if not (directory / "socket.io-client").is_dir():
        reason = "socket.io-client is not installed; run `make install`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return directory


def console_of(page: Page) -> "asyncio.Queue[str]":
    """Return what the scripts of ``page`` say from now on."""
    said: asyncio.Queue[str] = asyncio.Queue()

    def keep(message: ConsoleMessage) -> None:
        said.put_nowait(message.text)

    page.on("console", keep)
    return said


# Tables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_the_pages_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert reference.replace_sections(text) == text, "run `make docs`"


def test_every_table_has_its_place() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = re.findall(r"<!-- begin ([a-z-]+) -->", pages)
    assert sorted(names) == sorted(reference.sections())


def test_a_section_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(ValueError, match="no section 'weather'"):
        reference.replace_sections("<!-- begin weather -->\n<!-- end weather -->")


def test_what_stands_around_the_markers_stays() -> None:
    text = "before\n<!-- begin errors -->\nold\n<!-- end errors -->\nafter\n"
    renewed = reference.replace_sections(text)
    assert renewed.startswith("before\n<!-- begin errors -->\n\n| Code | Status |")
    assert renewed.endswith(" |\n\n<!-- end errors -->\nafter\n")
    assert "old" not in renewed


def test_marks_of_markdown_in_a_setting_are_shown_as_they_are() -> None:
    assert r"\*, or a list of origins like https://\*.example.com" in reference.settings(rows())
    assert r"[:prefix\|prefix]" in reference.settings(rows())


def test_the_command_prints_all_tables() -> None:
    result = CliRunner().invoke(main, ["reference"])
    assert result.exit_code == 0
    assert all(table in result.stdout for table in reference.sections().values())


def test_the_command_renews_the_tables_of_a_file(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin errors -->\n<!-- end errors -->\n")
    result = CliRunner().invoke(main, ["reference", "--into", str(page)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert reference.sections()["errors"] in page.read_text()


def documented_fields() -> dict[str, tuple[set[str], set[str]]]:
    """Return of each of the server's own events the fields, and of those the optional ones."""
    lines = re.findall(
        r"^\| `(\w+)` \| (`.*`.*) \|$",
        section_of(README, "What the server says").partition("The server's own events carry:")[2],
        re.M,
    )
    return {
        event: (
            set(re.findall(r"`(\w+)`", fields)),
            set(re.findall(r"`(\w+)` \(optional\)", fields)),
        )
        for event, fields in lines
    }


@pytest.mark.gen_test
async def test_the_servers_own_events_carry_what_the_readme_says(
    application: Application, base_url: str, http_server: HTTPServer, connect_client: ConnectClient
) -> None:
    seen: dict[str, set[str]] = {}
    watcher = ConnectedClient()

    async def record(event: str, payload: Any) -> None:
        seen.setdefault(event, set(payload))
        await watcher.events.put((event, payload))

    watcher.socket.on("*", record)
    await watcher.socket.connect(base_url, transports=["websocket"])
    other = await connect_client()
    await watcher.ask("joinRoom", "sales")
    await other.ask("message", "hello")
    await other.ask("roomMessage", {"room": "sales", "message": "hello"})
    await watcher.ask("message", "hello")
    await watcher.ask("leaveRoom", "sales")
    await watcher.ask("joinWhatsAppGeneral")
    await watcher.ask("joinWhatsAppCustomer", "c42")
    await watcher.ask("leaveWhatsAppCustomer", "c42")
    await watcher.socket.emit("joinRoom", "")
    await other.socket.disconnect()
    await watcher.next_event("clientLeft")
    application.service.drain(0)
    await watcher.next_event("serverShutdown")
    await watcher.socket.disconnect()

    documented = documented_fields()
    # Said only where tokens and presence are in use: their own tests have them literally.
    assert documented.pop("tokenExpiring") == ({"expiresAt", "expiresIn"}, set())
    assert documented.pop("presence") == ({"room", "joins", "leaves", "timestamp"}, set())
    assert {event: fields | documented[event][1] for event, fields in seen.items()} == {
        event: fields for event, (fields, _) in documented.items()
    }


def test_every_event_of_the_server_is_documented() -> None:
    own = {row.name for row in SERVER_EVENTS.values() if not row.from_backends}
    assert own == documented_fields().keys()


def test_every_setting_is_read() -> None:
    sources = [
        file.read_text(encoding="utf-8")
        for package in ("gtower_realtime", "handlers")
        for file in (ROOT / package).rglob("*.py")
        if file.name != "settings.py"
    ]
    read = set(re.findall(r"\bsettings\.(\w+)", "\n".join(sources)))
    for name, source in methods_made_of("settings.py", "Settings").items():
        if name in read:
            read |= set(re.findall(r"\bself\.(\w+)", source))
    unread = {row.name for row in rows() if row.name.removeprefix("GTOWER_").lower() not in read}
    assert unread == set()


def methods_made_of(file: str, class_name: str) -> dict[str, str]:
    """Return the methods and properties of a class by name, each with its source."""
    source = (ROOT / "gtower_realtime" / file).read_text(encoding="utf-8")
    return {
        each.name: ast.get_source_segment(source, each) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_the_readme_has_every_endpoint_of_the_api() -> None:
    text = README.read_text(encoding="utf-8")
    routes = [*triggers.routes(), *reads.routes(), *rooms.routes(), *operations.routes()]
    assert [route.path for route in routes if not re.search(f" {route.path}`", text)] == []


# Commands and snippets


def commands_and_answers() -> list[tuple[str, Any]]:
    """Return the curl commands of the README with the answers that follow them."""
    blocks = blocks_of(README)
    return [
        (block.text, json.loads(answer.text))
        for block, answer in itertools.pairwise(blocks)
        if block.text.startswith("curl ") and answer.language == "json"
    ]


@pytest.mark.gen_test
async def test_the_curl_commands_of_the_readme_get_the_answers_that_follow_them(
    base_url: str, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    await client.ask("joinRoom", "sales")
    pairs = commands_and_answers()
    assert len(pairs) == sum(block.text.startswith("curl ") for block in blocks_of(README)) > 0
    for command, answer in pairs:
        script = command.replace(DOCUMENTED_SERVER, base_url)
        printed = await run("sh", "-c", script, stderr=asyncio.subprocess.DEVNULL)
        assert likeness(json.loads(printed)) == likeness(answer)


@pytest.mark.gen_test
async def test_the_page_of_the_readme_hears_the_room_in_a_browser(
    base_url: str, http_server: HTTPServer, browser: str, tmp_path: Path
) -> None:
    page_file = tmp_path / "page.html"
    page_file.write_text(only_block(README, "html").replace(DOCUMENTED_SERVER, base_url))
    async with windows(browser) as open_window:
        page = await open_window(base_url)
        said = console_of(page)
        await page.goto(page_file.as_uri())
        assert await asyncio.wait_for(said.get(), PATIENCE_SECONDS) == "in room sales"
        await send_order(base_url)
        assert await asyncio.wait_for(said.get(), PATIENCE_SECONDS) == "order 1042 shipped"


@pytest.mark.gen_test
async def test_the_module_of_the_readme_hears_the_room_in_node(
    base_url: str, http_server: HTTPServer, node: str, socket_io_client: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(socket_io_client)
    module = tmp_path / "listen.mjs"
    module.write_text(only_block(README, "js").replace(DOCUMENTED_SERVER, base_url))
    async with running(node, str(module)) as output:
        assert await next_line(output) == "in room sales"
        await send_order(base_url)
        assert await next_line(output) == "order 1042 shipped"


@pytest.mark.parametrize("environ", [{"GTOWER_PRESENCE_ROOMS": "desk:"}])
@pytest.mark.gen_test
async def test_the_module_for_presence_knows_who_is_there_in_node(
    base_url: str, connect_client: ConnectClient, node: str, socket_io_client: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(socket_io_client)
    module = tmp_path / "presence.mjs"
    source = only_block(ROOT / "docs" / "presence.md", "js")
    module.write_text(source.replace(DOCUMENTED_SERVER, base_url))
    first = await connect_client()
    await first.ask("joinRoom", "desk:1")
    async with running(node, str(module)) as output:
        assert await next_line(output) == "2 at the desk"
        second = await connect_client()
        await second.ask("joinRoom", "desk:1")
        assert await next_line(output) == "3 at the desk"
        await second.socket.disconnect()
        assert await next_line(output) == "2 at the desk"


@pytest.mark.gen_test
async def test_the_python_of_the_readme_sends(base_url: str, connect_client: ConnectClient) -> None:
    client = await connect_client()
    await client.ask("joinRoom", "sales")
    script = only_block(README, "python").replace(DOCUMENTED_SERVER, base_url)
    assert await run(sys.executable, "-c", script) == "1 connections have it\n"
    assert (await client.next_event("orderUpdated"))["state"] == "shipped"


@pytest.mark.gen_test
async def test_the_transcript_over_a_websocket_is_what_goes_over_the_wire(
    base_url: str, http_server: HTTPServer
) -> None:
    transcript = only_block(PROTOCOL, "text", "→")
    address = f"ws{base_url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket"
    socket = await websocket_connect(address)
    for line in transcript.splitlines():
        direction, packet = line.split(" ", 1)
        if direction == "→":
            await socket.write_message(packet)
        else:
            received = await asyncio.wait_for(socket.read_message(), PATIENCE_SECONDS)
            assert packet_likeness(str(received)) == packet_likeness(packet)
    socket.close()


@pytest.mark.gen_test
async def test_the_lines_for_the_console_speak_the_protocol_in_a_browser(
    base_url: str, http_server: HTTPServer, browser: str
) -> None:
    script = only_block(PROTOCOL, "js").replace("localhost:3000", base_url.partition("//")[2])
    async with windows(browser) as open_window:
        page = await open_window(base_url)
        said = console_of(page)
        await page.evaluate(f"{script}; globalThis.ws = ws;")
        for start in ("0{", "40{", '42["connected"'):
            assert (await asyncio.wait_for(said.get(), PATIENCE_SECONDS)).startswith(start)
        await page.evaluate("""ws.send('42["joinRoom","sales"]')""")
        joined = await asyncio.wait_for(said.get(), PATIENCE_SECONDS)
        assert joined.startswith('42["roomJoined"')


@pytest.mark.gen_test
async def test_the_curl_commands_speak_the_protocol_over_polling(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    script = only_block(PROTOCOL, "sh").replace(DOCUMENTED_SERVER, base_url)
    # Not splitlines(), which takes the separator of packets for a line end.
    printed = (await run("sh", "-c", script)).split("\n")
    documented = only_block(PROTOCOL, "text", "ok\n").split("\n")
    assert list(map(packet_likeness, printed)) == list(map(packet_likeness, documented))


@pytest.mark.gen_test
async def test_the_commands_for_a_backup_bring_back_what_was_when_it_was_made(
    tmp_path: Path,
) -> None:
    back_up, restore = only_block(README, "sh", "restore backup.db").splitlines()
    program = f"{sys.executable} {ROOT / 'run.py'}"
    back_up, restore = (
        line.replace(".venv/bin/gtower-realtime", program) for line in (back_up, restore)
    )
    settings = Settings.load({"GTOWER_STATE_DIR": str(tmp_path / "var")})
    application = Application(settings)
    await application.start()
    await application.service.send_event_to_room("sales", "before", {})
    await run("sh", "-c", back_up, cwd=tmp_path)
    await application.service.send_event_to_room("sales", "after", {})
    await application.stop()
    lost = application.service.position("sales")["offset"]
    await run("sh", "-c", restore, cwd=tmp_path)

    application = Application(settings)
    await application.start()
    page = await application.service.history("sales")
    assert [event["event"] for event in page["events"]] == ["before"]
    # Who has seen what is lost now is not taken for complete.
    with pytest.raises(ValidationFailed, match="Is not an offset of this log"):
        await application.service.history("sales", after=lost)
    await application.stop()


@pytest.mark.parametrize(
    "snippet",
    [block.text for block in blocks_of(EMBEDDING) if block.language == "python"],
)
@pytest.mark.gen_test
async def test_the_python_for_embedding_sends(
    application: Application, connect_client: ConnectClient, snippet: str
) -> None:
    client = await connect_client()
    await client.ask("joinRoom", "sales")
    names: dict[str, Any] = {}
    exec(snippet, names)
    if "Orders" in names:
        await names["Orders"](application.service).mark_paid(1042)
    else:
        await names["tell_everyone"](application.service, 1042)
    assert (await client.next_event("orderUpdated"))["orderId"] == 1042


# Names


def test_every_command_in_the_documentation_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, re.M))
    assert set(re.findall(r"gtower-realtime ([a-z-]+)", text)) <= main.commands.keys()


def test_the_embedding_page_names_every_method_that_sends() -> None:
    text = EMBEDDING.read_text(encoding="utf-8")
    verbs = ("send_", "notify_", "broadcast_")
    sending = {name for name in dir(RealtimeService) if name.startswith(verbs)}
    named = set(re.findall(rf"`((?:{'|'.join(verbs)})\w+)`", text))
    assert named == sending


def methods_of(tree: ast.Module) -> dict[str, set[str]]:
    """Return the names of the methods of each class of a module."""
    return {
        node.name: {each.name for each in node.body if is_function(each)}  # type: ignore[attr-defined]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def project_sources() -> Iterable[Path]:
    for package in ("gtower_realtime", "handlers"):
        yield from (ROOT / package).rglob("*.py")


def test_the_architecture_page_names_every_module_and_no_other() -> None:
    package = ROOT / "gtower_realtime"
    modules = {file.name for file in package.glob("*.py") if file.name != "__init__.py"}
    packages = {f"{file.parent.name}/" for file in package.glob("*/__init__.py")}
    table = section_of(ARCHITECTURE, "Where everything is")
    first_cells = "".join(re.findall(r"^\| (`.*?) \|", table, re.M))
    assert set(re.findall(r"`([\w./]+)`", first_cells)) == modules | packages


def test_the_architecture_page_names_every_module_of_the_rooms_and_no_other() -> None:
    package = ROOT / "gtower_realtime"
    files = [
        *(file.relative_to(package) for file in package.glob("*/**/*.py")),
        *(file.relative_to(ROOT) for file in (ROOT / "handlers").glob("*.py")),
    ]
    modules = {file.as_posix() for file in files if file.name != "__init__.py"}
    table = section_of(ARCHITECTURE, "The rooms from inside")
    first_cells = "".join(re.findall(r"^\| (`.*?) \|", table, re.M))
    assert set(re.findall(r"`([\w./]+)`", first_cells)) == modules


def test_the_functions_that_the_architecture_page_names_exist() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    # Two classes are called Session: a connection's, and a client's.
    methods: dict[str, set[str]] = defaultdict(set)
    for file in project_sources():
        for name, found in methods_of(ast.parse(file.read_text(encoding="utf-8"))).items():
            methods[name] |= found
    named = re.findall(r"`([A-Z]\w+)\.(\w+)`", text)
    assert named
    assert [name for name in named if name[1] not in methods[name[0]]] == []
    paths = re.findall(r"`((?:gateway|engineio|handlers|events|tests|store)/\w+\.py)`", text)
    assert paths
    assert [
        path
        for path in paths
        if not any((base / path).exists() for base in (ROOT, ROOT / "gtower_realtime"))
    ] == []
