"""All Markdown of the project: links lead somewhere, examples parse, quoted messages are said."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtower_realtime.client import RealtimeClient
from gtower_realtime.settings import rows
from tests.test_readme import Block, blocks_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FAQ = DOCS / "faq.md"

_FOREIGN = {".venv", "node_modules", "build", "var"}

PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not _FOREIGN & set(page.relative_to(ROOT).parts)
)

_OF_OTHERS = {
    "Missing data for required field.",  # marshmallow's
    "Unknown field.",  # marshmallow's
    "io server disconnect",  # the stock client's
    '{"code":1,"message":"Session ID unknown"}',
    '{"code":3,"message":"Bad request"}',
    '{"code":4,"message":"Forbidden"}',
    "http_502",
    "http_301",
    "http_200",
}
"""What the page of troubles quotes that is no string of the code."""


def test_there_are_pages() -> None:
    assert {ROOT / "README.md", FAQ, DOCS / "README.md"} <= set(PAGES)


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            if not linked.exists() or (anchor and anchor not in anchors_of(linked)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors_of(page: Path) -> set[str]:
    """Return the names under which the headings of ``page`` can be linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "README.md"
    linked = {
        name.partition("#")[0]
        for name in re.findall(r"\]\(([^)]+)\)", index.read_text(encoding="utf-8"))
    }
    assert {page.name for page in DOCS.glob("*.md") if page != index} <= linked


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all pages in one of these languages."""
    found = [block for page in PAGES for block in blocks_of(page) if block.language in languages]
    assert found
    return found


@pytest.mark.parametrize("block", blocks("json"))
def test_what_is_marked_as_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("sh", "bash"))
def test_what_is_marked_as_shell_parses(block: Block) -> None:
    parsed = subprocess.run(
        ["bash", "-n"], input=block.text, text=True, capture_output=True, check=False
    )
    assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.parametrize("block", blocks("python"))
def test_what_is_marked_as_python_parses(block: Block) -> None:
    ast.parse(block.text)


def test_the_messages_among_the_troubles_are_those_of_the_product() -> None:
    troubles = FAQ.read_text(encoding="utf-8").partition("## It does not start")[2]
    quoted = set(re.findall(r"\*\*`([^`]+)`\*\*", troubles))
    assert len(quoted) > 40
    said = list(strings_of_the_code())
    assert {each for each in quoted - _OF_OTHERS if not any(each in text for text in said)} == set()


def strings_of_the_code() -> Iterator[str]:
    """Yield the strings of the program; what is filled into one is left out."""
    for package in ("gtower_realtime", "handlers"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_the_calls_of_the_client_that_pages_name_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`?\brealtime\.([a-z_]+)\(", text))
    assert {"broadcast_event", "put_into_room"} <= named
    assert {name for name in named if not hasattr(RealtimeClient, name)} == set()


def test_the_settings_that_pages_name_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    named = set(re.findall(r"\bGTOWER_[A-Z_]*[A-Z]\b(?!…)", text))
    known = {row.name for row in rows()}
    known |= {f"{row.name}_FILE" for row in rows() if row.is_secret}
    known |= {"GTOWER_API_KEY", "GTOWER_TOKEN"}  # of commands that are clients
    known |= {"GTOWER_PROT"}  # the command line's example of a misspelt one
    assert named - known == set()
