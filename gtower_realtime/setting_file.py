"""The text of a file with settings: `NAME=value` lines, as systemd and Docker read them.

Knows nothing of what the names mean. Problems never repeat a value: it may be a secret.
"""

import re

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)")
_QUOTES = ("'", '"')


def parse(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the values by name, and what is wrong with which line.

    Empty lines and those that begin with ``#`` or ``;`` say nothing. Quotes around a whole value
    are taken off; nothing else in it is special.
    """
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith(("#", ";")):
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            problems.append(f"line {number} must be NAME=value")
        elif parts[1] in values:
            problems.append(f"line {number} sets {parts[1]}, which an earlier line has set")
        else:
            values[parts[1]] = _unquoted(parts[2])
    return values, problems


def _unquoted(value: str) -> str:
    for quote in _QUOTES:
        if len(value) >= 2 and value.startswith(quote) and value.endswith(quote):
            return value[1:-1]
    return value
