"""Numbers on the dashboard, as people read them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

FORMAT = Path(__file__).parent.parent / "static" / "dashboard" / "format.js"


def said(expression: str) -> Any:
    """Return what the page's module makes of something."""
    program = f"import {{count, bytes}} from {FORMAT.as_uri()!r};"
    program += f"console.log(JSON.stringify({expression}))"
    node = ["node", "--no-warnings", "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(node, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("number", "text"),
    [("0", "0"), ("0.25", "0.25"), ("99.4", "99"), ("99.7", "100"), ("1234.5", "1,235")],
)
def test_a_number_has_two_digits_or_is_whole(number: str, text: str) -> None:
    assert said(f"count({number})") == text


def test_nothing_known_is_a_dash() -> None:
    assert said("[count(null), bytes(null)]") == ["\N{EN DASH}"] * 2


def test_a_size_just_under_a_hundred_is_a_plain_number() -> None:
    assert said("bytes(99.7e6)") == "100 MB"
