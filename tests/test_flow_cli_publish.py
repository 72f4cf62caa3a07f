"""`publish` against a server that runs."""

import os
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer

from gtower_realtime.application import Application
from tests.command import command
from tests.conftest import ConnectClient
from tests.silent_nodes import let_receipts_be_partial

KEY = "a-key-of-twenty-characters"


@pytest.mark.gen_test
async def test_an_event_is_published_and_its_receipt_shown(
    base_url: str, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    await client.ask("joinRoom", "sales")
    order = '{"orderId": 1042}'
    ended = await command("publish", "orderUpdated", order, "--room", "sales", "--url", base_url)
    assert (ended.status, ended.errors) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ended.output.splitlines())
    assert list(lines) == ["id", "recipients", "pending", "offset"]
    assert lines["recipients"] == "1"
    assert (await client.next_event("orderUpdated"))["orderId"] == 1042


@pytest.mark.gen_test
async def test_the_receipt_is_given_as_the_server_gives_it(
    base_url: str, http_server: HTTPServer
) -> None:
    ended = await command("publish", "tick", "--all", "--json", "--volatile", "--url", base_url)
    assert (ended.status, ended.errors) == (0, "")
    said = ended.said
    assert said.pop("id")
    assert said == {
        "success": True,
        "message": "Event 'tick' published",
        "recipients": 0,
        "pending": 0,
        "unknownClients": [],
    }


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        (("ant:3001",), "partial     no answer of ant:3001"),
        (("ant:3001", "bee:3002"), "partial     no answer of ant:3001, bee:3002"),
        ((), "partial     not all nodes have answered"),
    ],
    ids=["one", "two", "nameless"],
)
@pytest.mark.gen_test
async def test_a_receipt_without_some_nodes_says_so(
    base_url: str,
    http_server: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    nodes: tuple[str, ...],
    line: str,
) -> None:
    let_receipts_be_partial(monkeypatch, *nodes)
    ended = await command("publish", "tick", "--all", "--url", base_url)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.output.splitlines()[-1] == line


@pytest.mark.gen_test
async def test_all_kinds_of_targets_and_options_reach_the_server(
    base_url: str, connect_client: ConnectClient
) -> None:
    first, second, third = [await connect_client() for _ in range(3)]
    await second.ask("joinRoom", "sales")
    targets = ("--room", "sales", "--client", first.id, "--client", "nobody", "--user", "ann")
    options = ("--except", third.id, "--ttl", "60", "--id", "order-1", "--json")
    line = ("publish", "tick", *targets, *options, "--url", base_url)
    ended = await command(*line)
    assert (ended.said["recipients"], ended.said["id"]) == (2, "order-1")
    assert ended.said["unknownClients"] == ["nobody"]
    again = await command(*line)
    assert again.output == ended.output
    ended = await command("publish", "last", "--all", "--except", first.id, "--url", base_url)
    assert "recipients  2\n" in ended.output
    assert [(await second.next_event("tick")).keys() for _ in range(1)] == [{"timestamp"}]
    await second.next_event("last")
    assert third.events.qsize() > 0


@pytest.mark.gen_test
async def test_acknowledgements_are_waited_for(
    base_url: str, connect_client: ConnectClient
) -> None:
    client = await connect_client()
    line = ("publish", "tick", "--client", client.id, "--wait-ack", "--url", base_url)
    ended = await command(*line, "--timeout", "30")
    lines = dict(line.split("  ", 1) for line in ended.output.splitlines())
    assert {name: value.strip() for name, value in lines.items()}["acknowledged"] == client.id
    assert lines["timed out"].strip() == "none"


@pytest.mark.gen_test
async def test_data_comes_from_a_file_or_from_standard_input(
    base_url: str, connect_client: ConnectClient, tmp_path: Path
) -> None:
    client = await connect_client()
    file = tmp_path / "order.json"
    file.write_text('{"n": 1}')
    for data, given in ((f"@{file}", ""), ("-", '{"n": 2}')):
        ended = await command("publish", "tick", data, "--all", "--url", base_url, given=given)
        assert ended.status == 0
    assert [(await client.next_event("tick"))["n"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["tick"], os.EX_USAGE, "For whom? Give --room, --user, --client or --all."),
        (["tick", "{", "--all"], os.EX_DATAERR, "DATA is not JSON"),
        (["tick", "NaN", "--all"], os.EX_DATAERR, "DATA is not JSON"),
        (["tick", "[1]", "--all"], os.EX_DATAERR, "DATA must be a JSON object"),
        (["tick", "@/nowhere", "--all"], os.EX_NOINPUT, "cannot read /nowhere: No such file"),
        (["connected", "--all"], os.EX_DATAERR, "reserved_event"),
        (["notification", "--all"], os.EX_DATAERR, "validation_error"),
        (["tick", "--all", "--url", "ftp://x"], os.EX_USAGE, "url must be like http://"),
        (["tick", "--all", "--url", "http://127.0.0.1:1"], os.EX_UNAVAILABLE, "127.0.0.1:1: "),
    ],
    ids=["whom", "json", "nan", "list", "file", "reserved", "schema", "url", "nobody"],
)
@pytest.mark.gen_test
async def test_what_goes_wrong_is_told_with_a_status_of_its_own(
    base_url: str, http_server: HTTPServer, arguments: list[str], status: int, sentence: str
) -> None:
    url = base_url.removeprefix("http://localhost:")
    ended = await command("publish", *arguments, GTOWER_HOST="127.0.0.1", GTOWER_PORT=url)
    assert (ended.status, ended.output) == (status, "")
    assert sentence in ended.errors
    assert "Traceback" not in ended.errors


@pytest.mark.gen_test
async def test_the_server_is_found_by_the_settings_also_those_of_a_file(
    base_url: str, http_server: HTTPServer, tmp_path: Path
) -> None:
    port = base_url.rpartition(":")[2]
    file = tmp_path / "settings.env"
    file.write_text(f"GTOWER_PORT={port}\nGTOWER_AUTH=nonsense that is not for us to judge\n")
    for environ in ({"PORT": port}, {"GTOWER_SETTINGS_FILE": str(file)}):
        assert (await command("publish", "tick", "--all", **environ)).status == 0


@pytest.mark.gen_test
async def test_a_server_that_goes_down_is_to_be_asked_later(
    application: Application, base_url: str, http_server: HTTPServer
) -> None:
    application.service.drain(60)
    ended = await command("publish", "tick", "--all", "--url", base_url)
    assert (ended.status, ended.output) == (os.EX_TEMPFAIL, "")
    assert "draining" in ended.errors


class TestWithKeys:
    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"GTOWER_API_KEYS": f"shop:publish:{KEY},viewer:read:{KEY[::-1]}"}

    @pytest.mark.gen_test
    async def test_the_key_comes_from_the_environment_or_a_file(
        self, base_url: str, http_server: HTTPServer, tmp_path: Path
    ) -> None:
        line = ("publish", "tick", "--all", "--url", base_url)
        file = tmp_path / "key"
        file.write_text(f"{KEY}\n")
        assert (await command(*line, GTOWER_API_KEY=KEY)).status == 0
        assert (await command(*line, "--key-file", str(file))).status == 0

    @pytest.mark.parametrize(
        ("key", "code"), [("", "unauthorized"), (KEY[::-1], "forbidden")], ids=["none", "scope"]
    )
    @pytest.mark.gen_test
    async def test_without_a_key_that_may_publish_it_ends_with_77(
        self, base_url: str, http_server: HTTPServer, key: str, code: str
    ) -> None:
        ended = await command("publish", "tick", "--all", "--url", base_url, GTOWER_API_KEY=key)
        assert (ended.status, ended.output) == (os.EX_NOPERM, "")
        assert code in ended.errors
