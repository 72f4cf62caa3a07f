"""What a run leaves behind: tables for terminal and Markdown, all samples as JSON, a plot."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks import plot
from benchmarks.competitors import ALL, CHECKOUT, HERE
from benchmarks.measurements import Row

_TITLES = {competitor.key: competitor.title for competitor in ALL}

_LIBRARIES = ("tornado", "python-socketio", "python-engineio", "orjson")
_MODULES = ("socket.io", "ws", "express")


@dataclass
class Run:
    """One run of the benchmark. ``load`` is the load average at its start and its end."""

    began_at: datetime
    pairs: int
    seconds: float
    settings: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    took_seconds: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)

    def surroundings(self) -> dict[str, str]:
        """Return machine, versions and circumstances, in words."""
        return {
            "date": self.began_at.strftime("%Y-%m-%d %H:%M %Z"),
            "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}; "
            f"{platform.system()} {platform.release()}",
            "load average": f"{self.load[0]:.1f} at the start, {self.load[1]:.1f} at the end; "
            "the benchmark itself keeps about two cores busy",
            "GTower Realtime": _revision(),
            "Python": _versions(),
            "Node": _node_versions(),
            "method": f"{self.pairs} interleaved rounds of {self.seconds:g} s after a warm-up, "
            f"medians; took {self.took_seconds / 60:.1f} min",
            "settings": ", ".join(f"{name}={value}" for name, value in self.settings.items())
            or "defaults, all limits on and above the load",
        }

    def markdown(self) -> str:
        """Return the whole report."""
        parts = [
            "# Benchmark",
            "",
            *(f"- {name}: {text}" for name, text in self.surroundings().items()),
        ]
        parts += ["", "## Cost", "", "Server CPU (user and kernel) or memory; less is better.", ""]
        parts += markdown_table(cost_table(self.rows))
        parts += [
            "",
            "## Targets",
            "",
            "Measured: the median over the rounds, and in brackets the smallest and the largest; "
            "where a target lies between those, the run does not decide it.",
            "",
        ]
        parts += markdown_table(target_table(self.rows))
        parts += ["", "## Rate and load generator", ""]
        parts += [
            "Per second of wall time, on cores that server and generator share. Behind it the "
            "largest share of a core that the generator took: below 95 % it was not the "
            "bottleneck.",
            "",
        ]
        parts += markdown_table(rate_table(self.rows))
        notes = [f"- {row.workload} {row.case}: {note}" for row in self.rows for note in row.notes]
        notes += [f"- not measured: {sentence}" for sentence in self.missing]
        if notes:
            parts += ["", "## Notes", "", *notes]
        return "\n".join(parts) + "\n"

    def as_json(self) -> str:
        """Return all samples."""
        shape = {
            **self.surroundings(),
            "missing": self.missing,
            "rows": [row.as_dict() for row in self.rows],
        }
        return json.dumps(shape, indent=1, ensure_ascii=False) + "\n"

    def write(self, directory: Path, suffix: str) -> Path:
        """Write report, samples and plot; return the report's file."""
        directory.mkdir(exist_ok=True)
        stem = self.began_at.strftime("%Y-%m-%d") + suffix
        drawn = directory / f"{stem}.svg"
        drawn.write_text(plot.svg(self.rows, _TITLES), encoding="utf-8")
        (directory / f"{stem}.json").write_text(self.as_json(), encoding="utf-8")
        file = directory / f"{stem}.md"
        picture = f"\n![Cost by workload]({drawn.name})\n"
        file.write_text(self.markdown() + picture, encoding="utf-8")
        return file


def cost_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return what each case costs each competitor."""
    header = ["", "case", "unit", *(_TITLES.values()), "Node / ours"]
    lines = [header]
    for row in rows:
        costs = [_figure(row.cost(key)) for key in _TITLES]
        gains = row.gains("node") if row.unit.startswith("µs") else []
        shown = f"{median(gains):.2f}" if gains else ""
        lines.append([row.workload, row.case, row.unit, *costs, shown])
    return lines


def target_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the targets beside the figures."""
    lines = [["", "case", "target", "measured", ""]]
    for row in rows:
        lines += [
            [
                row.workload,
                row.case,
                verdict.target,
                verdict.figure,
                "met" if verdict.is_met else "NOT MET",
            ]
            for verdict in row.verdicts
        ]
    return lines


def rate_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return rates, and how busy the load generator was."""
    lines = [["", "case", *_TITLES.values()]]
    for row in rows:
        cells = []
        for key in _TITLES:
            rate, share = row.rate(key), row.generator(key)
            shown = "" if share is None else f" ({share:.0%})"
            cells.append("" if rate is None else f"{rate:,.0f}/s{shown}")
        if any(cells):
            lines.append([row.workload, row.case, *cells])
    return lines


def markdown_table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    header, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return [header, "|" + "---|" * len(lines[0]), *rest]


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _figure(cost: float | None) -> str:
    if cost is None:
        return ""
    return f"{cost:.2f}" if abs(cost) < 10 else f"{cost:.1f}" if abs(cost) < 100 else f"{cost:.0f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GB"


def _revision() -> str:
    version = _output("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty")
    return version or "of no known revision"


def _versions() -> str:
    libraries = [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES]
    return f"{platform.python_version()}, {', '.join(libraries)}"


def _node_versions() -> str:
    versions = [_output("node", "--version") or "not installed"]
    for name in _MODULES:
        package = HERE / "peers" / "node_modules" / name / "package.json"
        if package.exists():
            version = json.loads(package.read_text(encoding="utf-8"))["version"]
            versions.append(f"{name} {version}")
    return ", ".join(versions)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
