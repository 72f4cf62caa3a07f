"""The page about the Python client: its programs print what it says, its names exist."""

import re
import sys

import pytest

from gtower_realtime import client
from gtower_realtime.client import RealtimeClient
from gtower_realtime.http1.server import HttpServer
from tests.test_readme import DOCUMENTED_SERVER, ROOT, Block, blocks_of, run

PAGE = ROOT / "docs" / "python-client.md"


def programs() -> list[tuple[str, str]]:
    """Return the programs of the page with what each prints, which follows it."""
    blocks = iter(blocks_of(PAGE))
    return [(block.text, printed_by(next(blocks))) for block in blocks]


def printed_by(block: Block) -> str:
    assert block.language == "text"
    return block.text


@pytest.mark.parametrize(("program", "printed"), programs())
@pytest.mark.gen_test
async def test_a_program_prints_what_the_page_says(
    base_url: str, http_server: HttpServer, program: str, printed: str
) -> None:
    script = program.replace(DOCUMENTED_SERVER, base_url)
    assert await run(sys.executable, "-c", script) == printed


def test_the_page_names_every_call() -> None:
    text = PAGE.read_text(encoding="utf-8")
    calls = {name for name in vars(RealtimeClient) if not name.startswith("_")}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)(?:\(|`)", text))
    assert calls - {"perform", "go_through"} <= named


def test_the_classes_that_the_page_names_exist() -> None:
    named = re.findall(r"`([A-Z]\w+[a-z])[`(]", PAGE.read_text(encoding="utf-8"))
    assert [name for name in named if name not in [*client.__all__, "True"]] == []
