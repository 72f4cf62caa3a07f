"""Tables for people: columns side by side, the last one as wide as the terminal lets it be."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import click

_GAP = "  "
_LEAST_OF_THE_LAST = 30


def print_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print ``lines`` below ``headings``; no headings if they are empty.

    On a terminal the last column is folded into what is left of the width, elsewhere each line
    stays one, so that other programs can take it.
    """
    table = [*([headings] if headings else []), *lines]
    if not table:
        return
    widths = [max(len(click.unstyle(line[at])) for line in table) for at in range(len(table[0]))]
    room = _room_for_the_last(widths[:-1])
    for number, line in enumerate(table):
        cells = [_padded(cell, width) for cell, width in zip(line, widths[:-1], strict=False)]
        begin = "".join(cell + _GAP for cell in cells)
        folded = textwrap.wrap(line[-1], room) if room else [line[-1]]
        indent = "\n" + " " * sum(width + len(_GAP) for width in widths[:-1])
        text = (begin + indent.join(folded)).rstrip()
        click.echo(click.style(text, bold=True) if headings and number == 0 else text)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, a line each."""
    print_table((), pairs)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - len(click.unstyle(cell)))


def _room_for_the_last(widths: Sequence[int]) -> int | None:
    """Return how wide the last column may be; None for any width."""
    if not sys.stdout.isatty():
        return None
    taken = sum(widths) + len(_GAP) * len(widths)
    return max(_LEAST_OF_THE_LAST, shutil.get_terminal_size().columns - taken)
