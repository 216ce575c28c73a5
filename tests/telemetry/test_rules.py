"""Dashboard and alerts name only what a running service shows, and the dashboard all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import promql_parser as promql
import pytest
import yaml
from govifi.challenge.v1 import challenge_admin_pb2, challenge_pb2

from service.api.error_table import TABLE
from service.captchas import Verdict
from service.channels import Blame, Outcome
from service.telemetry import metrics
from tests.telemetry.conftest import Played
from tests.telemetry.test_metrics import QUOTAS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text("utf-8"))["groups"]
DASHBOARD = json.loads((DEPLOY / "grafana/challenge.json").read_text("utf-8"))
RULES = {rule["alert"]: rule for group in ALERTS for rule in group["rules"] if "alert" in rule}
RECORDED = [rule for group in ALERTS for rule in group["rules"] if "record" in rule]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "5m", "$job": "challenge"}
SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds."""
VALUES = {
    "rpc": {
        method.name
        for file in (challenge_pb2, challenge_admin_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    },
    "code": {code.name for code in grpc.StatusCode},
    "error": {error.__name__ for error in TABLE} | {"Bug"},
    "quota": QUOTAS,
    "outcome": {"sent", "dead", "expired"} | {outcome.value for outcome in Outcome},
    "blames": {blame.value for blame in Blame},
    "verdict": {verdict.value for verdict in Verdict},
    "job": {"challenge"},
    "le": {
        str(float(bound))
        for metric in (metrics.CALL_DURATION, metrics.DISPATCH_DURATION)
        for bound in metric._kwargs["buckets"]
    },
}  # fmt: skip
Labels = dict[str, set[str]]


def expressions() -> Iterator[tuple[str, str]]:
    for name, rule in RULES.items():
        yield name, rule["expr"]
    for rule in RECORDED:
        yield rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            yield panel["title"], text


def labels(text: str) -> Labels:
    """Reads from an exposition which labels each sample has."""
    found: Labels = {"up": set(), **{rule["record"]: set(rule["labels"]) for rule in RECORDED}}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{") if "{" in line else (line.split()[0], "", "")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', rest.rpartition("}")[0]))
    return found


def nodes(node: Any) -> Iterator[Any]:
    """Walks through an expression."""
    yield node
    parts = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for part in (*parts, *getattr(node, "args", ())):
        if part is not None:
            yield from nodes(part)


def selectors(node: Any) -> list[Any]:
    return [part for part in nodes(node) if isinstance(part, promql.VectorSelector)]


def complaints(text: str, shown: Labels) -> list[str]:
    """Says what an expression names that there is not."""
    tree, wrong = promql.parse(text), []
    for selector in selectors(tree):
        if selector.name not in shown:
            wrong.append(f"no metric {selector.name}")
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in shown[selector.name] | SCRAPE:
                wrong.append(f"{selector.name} has no label {matcher.name}")
            elif not set(matcher.value.split("|")) <= VALUES[matcher.name]:
                wrong.append(f"{matcher.name} is never {matcher.value}")
    for aggregation in nodes(tree):
        if not isinstance(aggregation, promql.AggregateExpr) or aggregation.modifier is None:
            continue
        known = {
            label for selector in selectors(aggregation) for label in shown.get(selector.name, ())
        }
        unknown = set(aggregation.modifier.labels) - known - SCRAPE
        wrong += [f"nothing to aggregate by {label}" for label in unknown]
    return wrong


@pytest.mark.parametrize(("where", "text"), list(expressions()))
def test_an_expression_names_only_what_there_is(played: Played, where: str, text: str) -> None:
    assert complaints(text, labels(played.text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "challenge_queue_dispatch",
        'challenge_queue_dispatches{kind="due"}',
        'challenge_call_errors_total{error="Bugs"}',
        'rate(challenge_call_duration_seconds_count{code=~"OK|INTERNL"}[5m]) > 0',
        "1 - sum by (quotas) (rate(challenge_quota_refusals_total[5m]))",
        "histogram_quantile(0.9, sum by (lee) (rate(challenge_call_duration_seconds_bucket[5m])))",
        "max_over_time(challenge_queue_oldest_due[5m])",
    ],
)
def test_one_that_names_something_else_is_found(played: Played, text: str) -> None:
    assert len(complaints(text, labels(played.text))) == 1


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        re.sub("_(bucket|count|sum)$", "", selector.name)
        for where, text in expressions()
        if where not in RULES.keys() | {rule["record"] for rule in RECORDED}
        for selector in selectors(promql.parse(text))
    }
    assert {name for name, *_ in metrics_defined()} <= shown


def metrics_defined() -> list[tuple[str, str, tuple[str, ...], str]]:
    """What service/telemetry/metrics.py defines: name, type, labels and text, in its order."""
    return [
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type, metric._labelnames, family.documentation,
        )
        for metric in vars(metrics).values()
        if isinstance(metric, metrics.Counter | metrics.Gauge | metrics.Histogram)
        for family in metric.describe()
    ]  # fmt: skip


def test_the_dashboard_can_be_imported() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]}
    assert len(places) == len(ids)
    sources = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert sources == {"${datasource}"}


def test_every_alert_says_what_and_how_bad() -> None:
    for name, rule in RULES.items():
        assert rule["annotations"]["summary"].endswith("."), name
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            known = SCRAPE | ({"slo"} if "challenge:slo" in rule["expr"] else set())
            assert label in known or f"by ({label})" in rule["expr"], name


def test_every_alert_is_tried_on_what_it_is_for_and_on_what_it_is_not() -> None:
    tests = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text("utf-8"))["tests"]
    tried = [one for test in tests for one in test["alert_rule_test"]]
    assert {one["alertname"] for one in tried if one["exp_alerts"]} == RULES.keys()
    # Not before its time, or not for another series that stands beside the one it is for.
    assert {one["alertname"] for one in tried if not one["exp_alerts"]} >= {
        name for name, rule in RULES.items() if "for" in rule
    }
