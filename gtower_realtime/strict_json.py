"""JSON that every receiver can read: finite numbers, valid Unicode, at most 32 levels.

``1e999``, ``NaN`` and lone surrogates relayed to a browser disconnect it, and deep nesting
overflows whoever walks it, so both are refused where they come in.
"""

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

import orjson

MAX_DEPTH = 32

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_AS_ARRAYS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_CONTAINERS = (dict, list, tuple)
_JSON_TYPES = (*_CONTAINERS, str, bool, int, float, type(None))


def loads(text: str | bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON document, whose outermost array or object is level 1.

    Raises:
        ValueError: not JSON by RFC 8259, a number beyond a double, or deeper than ``max_depth``.
    """
    raw = text.encode("utf-8", "strict") if isinstance(text, str) else text
    # orjson itself stops at 1,024 levels, so nothing overflows before the depth is checked.
    value = orjson.loads(raw)
    # Counting takes nanoseconds, and settles nearly every document.
    if raw.count(b"[") + raw.count(b"{") > max_depth and _is_deeper(raw, max_depth):
        raise _too_deep(max_depth)
    return value


def dumps(value: Any, **_options: Any) -> str:
    """Encode without spaces. Options of ``json.dumps`` are accepted and have no effect.

    A number that is not finite becomes ``null``; :func:`check` finds it.

    Raises:
        ValueError: something in ``value`` cannot be said in JSON.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError as problem:
        raise ValueError(str(problem)) from None


def check(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check a value that did not come through :func:`loads`, as code in the process may pass it.

    Raises:
        ValueError: it has a number that is not finite, nests too deeply, or is no JSON value.
    """
    for level in _levels(value, max_depth):
        for item in level:
            if isinstance(item, float) and not isfinite(item):
                raise ValueError("numbers must be finite")
            if not isinstance(item, _JSON_TYPES):
                # One kind of error says it all, as for loads and dumps.
                raise ValueError(f"{type(item).__name__} is not a JSON type")  # noqa: TRY004
    dumps(value)


def _is_deeper(document: bytes, max_depth: int) -> bool:
    """Say whether arrays and objects of a JSON document nest deeper than so many levels.

    By whole passes over its brackets, each of which takes the innermost pairs away: to walk through
    the millions of values that 10 MB can be took seconds.
    """
    brackets = _STRING.sub(b"", document).translate(_AS_ARRAYS, _NO_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _too_deep(max_depth: int) -> ValueError:
    return ValueError(f"nested deeper than {max_depth} levels")


def _levels(value: Any, max_depth: int) -> Iterator[list[Any]]:
    """Yield the values of each level, from the outermost on."""
    level = [value]
    for _ in range(max_depth + 1):
        yield level
        containers = [item for item in level if isinstance(item, _CONTAINERS)]
        if not containers:
            return
        level = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
        ]
    raise _too_deep(max_depth)
