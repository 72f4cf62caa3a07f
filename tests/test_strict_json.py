import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtower_realtime import strict_json


def nested(levels: int) -> list[Any]:
    """Return ``levels`` arrays in each other."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_document_is_read_from_text_and_from_bytes() -> None:
    assert strict_json.loads('{"a":[1,2.5,"ä",true,null]}') == {"a": [1, 2.5, "ä", True, None]}
    assert strict_json.loads('"ä"'.encode()) == "ä"


@pytest.mark.parametrize(
    "document",
    [
        "",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "[-1e999]",
        "1" + "0" * 400,
        '"\\ud800"',
        '"\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        "\ufeff1",
        "[1,]",
        "01",
        '"a\nb"',
        "{'a':1}",
        "1 2",
    ],
)
def test_what_a_browser_could_not_read_is_refused(document: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        strict_json.loads(document)


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"[":[', "]}"), ('[1,"]}",', "]")]
)
def test_a_document_has_at_most_32_levels(opening: str, closing: str) -> None:
    levels = 16 if opening.endswith(":[") else 32
    assert strict_json.loads(opening * levels + "1" + closing * levels)
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        strict_json.loads("[" + opening * levels + "1" + closing * levels + "]")


def test_the_depth_may_be_chosen() -> None:
    assert strict_json.loads("[[1]]", 2) == [[1]]
    with pytest.raises(ValueError, match="nested deeper than 2 levels"):
        strict_json.loads("[[[1]]]", 2)


def depth_of(value: Any) -> int:
    """Return how many levels ``value`` has."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(
    st.recursive(
        st.integers(-9, 9) | st.text('[]{}\\"a', max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text('[]{}\\"a', max_size=2), inner, max_size=3)
        ),
        max_leaves=12,
    ),
    st.integers(1, 6),
)
def test_depth_is_counted_as_a_walk_through_the_value_would(value: Any, limit: int) -> None:
    document = strict_json.dumps(value)
    if depth_of(value) <= limit:
        assert strict_json.loads(document, limit) == value
    else:
        with pytest.raises(ValueError, match=f"nested deeper than {limit} levels"):
            strict_json.loads(document, limit)


def test_a_document_of_any_depth_is_refused_without_overflow() -> None:
    for document in ("[" * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(ValueError, match="depth limit exceeded"):
            strict_json.loads(document)


@pytest.mark.parametrize(
    "document", ["[" + "[]," * 100 + "1]", '["' + "[" * 100 + '"]', '["\\"' + "{" * 100 + '"]']
)
def test_many_brackets_are_not_depth(document: str) -> None:
    assert strict_json.loads(document)


def test_encoding_has_no_spaces_and_keeps_unicode() -> None:
    assert strict_json.dumps({"a": [1, "ä"]}, separators=(", ", ": ")) == '{"a":[1,"ä"]}'


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud800", 2**64, {1, 2}, b"x"])
def test_what_json_cannot_say_is_not_encoded(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        strict_json.dumps(value)


def test_a_value_of_the_process_passes_when_json_can_say_it() -> None:
    strict_json.check({"a": [1, 2.5, "ä", True, None, (1, 2)], "b": nested(31)})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "numbers must be finite"),
        ({"a": [float("inf")]}, "numbers must be finite"),
        ([nested(32)], "nested deeper than 32 levels"),
        ({"a": {1: 2}}, "Dict key must be str"),
        (["\ud800"], "surrogates not allowed"),
        (2**64, "Integer exceeds 64-bit range"),
        ({"a": {1, 2}}, "set is not a JSON type"),
        (datetime.now(UTC), "datetime is not a JSON type"),
        ([uuid.uuid4()], "UUID is not a JSON type"),
    ],
)
def test_a_value_of_the_process_that_json_cannot_say_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        strict_json.check(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        strict_json.check(value)
