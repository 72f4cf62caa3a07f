"""What a PromQL expression asks for: metrics, the labels that it matches, those that it groups by.

Knows as much of the language as that takes; whether it is right otherwise is for Prometheus.
"""

import re
from dataclasses import dataclass, field

_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "group_left", "group_right"})
_GROUPING = frozenset({"by", "without", "on", "ignoring"})

_TOKEN = re.compile(
    r"""
      (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<range>\[[^\]]*\])
    | (?P<number>\d[\d.]*(?:[eE][+-]?\d+)?[a-z]*)
    | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<sign>=~|!~|!=|>=|<=|==|[-+*/%^=<>(){},])
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)


@dataclass
class Query:
    """An expression: its metrics with what is matched of their labels, and all grouping labels."""

    metrics: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    grouped_by: set[str] = field(default_factory=set)


def read(expression: str) -> Query:
    """Read an expression.

    Raises:
        ValueError: it has something that is not known here.
    """
    tokens = _tokens(expression)
    query = Query()
    position = 0
    while position < len(tokens):
        kind, text = tokens[position]
        follower = tokens[position + 1][1] if position + 1 < len(tokens) else ""
        position += 1
        if kind != "word" or text in _WORDS:
            continue
        if text in _GROUPING:
            end = tokens.index(("sign", ")"), position)
            query.grouped_by |= {word for kind, word in tokens[position:end] if kind == "word"}
            position = end
        elif follower == "{":
            end = tokens.index(("sign", "}"), position)
            query.metrics.append((text, _matchers(tokens[position + 1 : end])))
            position = end
        elif follower != "(" and follower not in _GROUPING:
            query.metrics.append((text, {}))
    return query


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens = []
    position = 0
    while position < len(expression):
        found = _TOKEN.match(expression, position)
        if found is None or found.lastgroup is None:
            raise ValueError(f"what is {expression[position:]!r}?")
        position = found.end()
        if found.lastgroup not in {"space", "range"}:
            tokens.append((found.lastgroup, found[0]))
    return tokens


def _matchers(tokens: list[tuple[str, str]]) -> dict[str, str]:
    """Return the matchers between braces as ``{label: <operator><text without quotes>}``."""
    parts = [text for _, text in tokens if text != ","]
    names, operators, values = parts[::3], parts[1::3], parts[2::3]
    return {
        name: operator + value[1:-1]
        for name, operator, value in zip(names, operators, values, strict=True)
    }
