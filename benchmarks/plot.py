"""The plot: CPU per unit of each competitor, a group of bars per case, as SVG made by hand."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.measurements import Row

_COLOURS = {
    "ours": "#0b6e4f",
    "node": "#c9822b",
    "express": "#e3b778",
    "stock": "#7a7f87",
    "limit": "#b9c2cc",
}
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 370, 560, 13, 12, 58
_TEXT = 'font-family="system-ui, sans-serif" font-size="12"'


def svg(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """Return the plot of all rows that cost CPU; shorter bars are better, the scale is logarithmic.

    ``titles`` are the names of the competitors by key.
    """
    shown = [row for row in rows if row.unit.startswith("µs") and row.samples]
    costs = [cost for row in shown for key in titles if (cost := row.cost(key))]
    if not costs:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>'
    lowest = 10 ** math.floor(math.log10(min(costs)))
    highest = 10 ** math.ceil(math.log10(max(costs)))
    decades = max(1.0, math.log10(highest / lowest))

    def length(cost: float) -> float:
        return _WIDTH * math.log10(cost / lowest) / decades

    parts, y = [], _TOP
    for row in shown:
        measured = [(key, cost) for key in titles if (cost := row.cost(key))]
        middle = y + len(measured) * _BAR / 2 + 4
        label = escape(f"{row.workload}  {row.case}")
        parts.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{label}</text>')
        for key, cost in measured:
            end = max(2.0, length(cost))
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{end:.1f}" height="{_BAR - 2}" '
                f'fill="{_COLOURS[key]}"/>'
                f'<text x="{_LEFT + end + 4:.1f}" y="{y + _BAR - 3}" font-size="10">'
                f"{_figure(cost)}</text>"
            )
            y += _BAR
        y += _GAP
    grid = []
    for decade in range(round(decades) + 1):
        x = _LEFT + _WIDTH * decade / decades
        grid.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{y}" stroke="#e4e7ea"/>'
            f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="middle" font-size="10">'
            f"{lowest * 10**decade:g}</text>"
        )
    legend = []
    for place, (key, title) in enumerate(titles.items()):
        x = _LEFT + place * 115
        legend.append(
            f'<rect x="{x}" y="26" width="10" height="10" fill="{_COLOURS[key]}"/>'
            f'<text x="{x + 14}" y="35" font-size="11">{escape(title)}</text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 70}" '
            f'height="{y + 10}" {_TEXT}>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_LEFT}" y="16" font-weight="bold">Server CPU in µs per delivery, event, '
            "connection or leave (log scale, shorter is better)</text>",
            *legend,
            *grid,
            *parts,
            "</svg>\n",
        ]
    )


def _figure(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"
