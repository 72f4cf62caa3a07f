"""The dashboard and the alert rules: they ask for nothing that a server does not expose."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gtower_realtime import errors
from gtower_realtime.cluster import outbox
from gtower_realtime.metrics import RELOAD_OUTCOMES, Metrics
from gtower_realtime.recovery import Reason
from gtower_realtime.whatsapp.processing import Outcome
from tests import promql
from tests.exposition import Exposition, scrape
from tests.socketio_wire import open_client
from tests.test_flow_metrics import NOTICE, fetch

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "deploy" / "grafana" / "gtower-realtime.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"

FROM_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus gives to every sample it takes."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression with where it stands."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in json.loads(DASHBOARD.read_text(encoding="utf-8"))["annotations"]["list"]:
        yield note["name"], note["expr"]


EXPRESSIONS = list(expressions())


def labels_of_rows() -> dict[str, set[str]]:
    """Return the labels of each name that queries may use, by the table of the metrics."""
    found: dict[str, set[str]] = {}
    for row in Metrics().rows():
        if row.kind == "histogram":
            found[f"{row.name}_bucket"] = {*row.labels, "le"}
            found[f"{row.name}_count"] = found[f"{row.name}_sum"] = set(row.labels)
        else:
            found[row.name] = set(row.labels)
    return found


@pytest.mark.gen_test
@pytest.mark.usefixtures("http_server")
async def test_a_server_exposes_every_metric_with_the_labels_of_the_table(base_url: str) -> None:
    """What the other tests hold queries against is what a real server says."""
    async with open_client(base_url) as client:
        await client.ask("joinRoom", "sales")
        await client.ask("joinRoom", "")
        await fetch(base_url, "/websocket/notify/room/sales", NOTICE)
        await fetch(base_url, "/websocket/notify/room/sales", {})
        await fetch(base_url, "/socket.io/?EIO=3&transport=polling")
        seen: Exposition = await scrape(base_url)
    table, told = labels_of_rows(), seen.labels()
    assert told == {name: labels for name, labels in table.items() if name in told}
    # A count by label shows from its first value on: nobody came with a bad token or too fast.
    assert {name for name, labels in table.items() if not labels} <= told.keys()
    assert "gtower_connects_refused_total" not in told


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_an_expression_asks_for_nothing_that_is_not_there(place: str, expression: str) -> None:
    table = labels_of_rows()
    query = promql.read(expression)
    assert query.metrics, place
    assert [name for name, _ in query.metrics if name not in table] == []
    known: set[str] = set(FROM_PROMETHEUS)
    for name, matchers in query.metrics:
        assert matchers.keys() <= table[name] | FROM_PROMETHEUS
        known |= table[name]
    assert query.grouped_by <= known


def known_values() -> set[str]:
    codes = {each.code for each in vars(errors).values() if hasattr(each, "code")}
    page = (ROOT / "docs" / "protocol-by-hand.md").read_text(encoding="utf-8")
    outcomes = {"recovered", *get_args(Reason), *RELOAD_OUTCOMES, *get_args(Outcome)}
    return codes | set(re.findall(r"^\| (\d{4}) ", page, re.M)) | outcomes


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_an_expression_matches_values_that_exist(place: str, expression: str) -> None:
    values = {
        matcher.lstrip("!=")
        for _, matchers in promql.read(expression).metrics
        for label, matcher in matchers.items()
        if label not in FROM_PROMETHEUS and matcher != "=~5.."
    }
    assert values <= known_values(), place


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_a_legend_names_labels_that_the_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = promql.read(target["expr"])
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        kept = query.grouped_by if query.grouped_by or "sum(" in target["expr"] else {"instance"}
        assert named <= kept


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_every_metric_is_shown_or_watched() -> None:
    shown = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for _, expression in EXPRESSIONS
        for name, _ in promql.read(expression).metrics
    }
    assert {row.name for row in Metrics().rows()} == shown


def test_the_bounds_of_the_outbox_are_those_of_the_server() -> None:
    of_outboxes = "\n".join(each for _, each in EXPRESSIONS if "gtower_outbox" in each)
    numbers = {int(number) for number in re.findall(r"\b\d{3,}\b", of_outboxes)}
    assert numbers == {outbox.MAX_ENTRIES, outbox.MAX_BYTES}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "action"}
    assert len(rule["annotations"]["action"]) > 40
    known = set(labels_of_rows())
    named = set(re.findall(r"\bgtower_\w+", rule["annotations"]["action"]))
    assert named - known - {name.removesuffix("_bucket") for name in known} == set()
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    query = promql.read(rule["expr"])
    assert labels <= (query.grouped_by or {"instance"})


def test_alerts_name_settings_that_exist() -> None:
    settings = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:GTOWER_[A-Z_]+|CORS_ORIGIN)", ALERTS.read_text(encoding="utf-8")))
    assert named
    assert [name for name in named if f"`{name}`" not in settings] == []


def test_the_page_explains_every_label() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = page.partition("| Label | Values |\n")[2].partition("\n\n")[0]
    explained = re.findall(r"^\| `(\w+)` \|", table, re.M)
    in_use = {label for row in Metrics().rows() for label in row.labels}
    assert set(explained) == in_use - {"version", "python"}


@pytest.mark.parametrize(
    ("expression", "metrics", "grouped_by"),
    [
        ("up", [("up", {})], set()),
        ("sum by (a, b) (rate(m_total[5m])) > 1e3", [("m_total", {})], {"a", "b"}),
        ("sum(m) without (a)", [("m", {})], {"a"}),
        ('m{a="x,}",b!~"y"} offset 5m', [("m", {"a": "=x,}", "b": "!~y"})], set()),
        ("m == bool 1 and on (a) n unless o", [("m", {}), ("n", {}), ("o", {})], {"a"}),
        ("histogram_quantile(0.9, sum(m) by (le))", [("m", {})], {"le"}),
    ],
)
def test_expressions_are_read(
    expression: str, metrics: list[tuple[str, dict[str, str]]], grouped_by: set[str]
) -> None:
    assert promql.read(expression) == promql.Query(metrics, grouped_by)


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"what is '\$x'"):
        promql.read("sum $x")
