"""Alert rules and the dashboard: every expression parses and names metrics that exist."""

from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from streamer.host.metrics_page import catalogue
from streamer.host.watching import ALERTS, DASHBOARD, ROWS, RULES, dashboard, rules, texts

DEPLOY = Path(__file__).parents[3] / "deploy"
# Of prometheus_client's own collector.
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
EXPRESSIONS = [
    *((alert.name, alert.expression) for alert in ALERTS),
    *((panel.title, expression) for _, row in ROWS for panel in row for expression, _ in panel.series),
]


def selectors(node: Any) -> list[tuple[str, set[str]]]:
    """Metric and labels of each selector below a node of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        return [(str(node.name), {matcher.name for matcher in node.matchers.matchers})]
    inner = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector", "param")]
    inner += list(getattr(node, "args", None) or ())
    return [found for each in inner if each is not None for found in selectors(each)]


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_exist(name: str, expression: str) -> None:
    known = {metric.name: set(metric.labels) for metric in catalogue()}
    known |= {f"{m.name}_bucket": {*m.labels, "le"} for m in catalogue() if m.kind == "histogram"}
    found = selectors(promql_parser.parse(expression))
    assert found, name
    for metric, labels in found:
        assert metric in known or metric in PROCESS, metric
        assert labels <= known.get(metric, set()), (metric, labels)


def test_a_name_that_does_not_exist_is_found() -> None:
    found = selectors(
        promql_parser.parse('sum by (a) (rate(nothing_total{b="c"}[5m])) > 2 * max(time() - (other > 0))')
    )
    assert found == [("nothing_total", {"b"}), ("other", set())]


def test_the_files_are_of_this_code() -> None:
    for path, text in texts().items():
        assert (DEPLOY / path).read_text() == text, "python -m streamer.host.watching deploy"
    assert yaml.safe_load((DEPLOY / RULES).read_text()) == rules()


def test_panels_have_places_and_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert (DEPLOY / DASHBOARD).exists()


def test_what_must_be_watched_is_watched() -> None:
    names = " ".join(alert.name for alert in ALERTS)
    for what in ("Lag", "NoReader", "DeadLetters", "StalledLoop", "OldModels", "Overload", "FalseAlerts"):
        assert what in names
