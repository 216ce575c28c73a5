"""What can be said of `deploy/chart/` without Helm; test_chart_rendered.py says the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import yaml
from govifi.challenge.v1 import challenge_pb2

from service.serving.readiness import LIVENESS
from service.settings import Settings
from tests.deploy.test_container import DOCKERFILE, PROJECT
from tests.rest.edge import ROOT

CHART = ROOT / "deploy/chart"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
TEMPLATES = "\n".join(path.read_text("utf-8") for path in sorted((CHART / "templates").iterdir()))


def names(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The values by their whole names."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from names(value, f"{prefix}{name}.")


def test_templates_use_the_values_that_there_are_and_all_of_them() -> None:
    known = set(names(VALUES))
    used = set(re.findall(r"\.Values\.([A-Za-z.]+\w)", TEMPLATES))
    assert used <= known
    assert {name.partition(".")[0] for name in used} >= VALUES.keys() - {"service", "edge"}
    for component in ("service", "edge"):  # also through `index .Values`
        parts = [name for name in VALUES[component] if not re.search(rf"\.{name}\b", TEMPLATES)]
        assert not parts, f"{component}: {parts} are in no template"


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator(schema).validate(VALUES)

    def known(part: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, inner in part.get("properties", {}).items():
            yield prefix + name
            yield from known(inner, f"{prefix}{name}.")

    free = (
        "settings.",
        "podDisruptionBudget.",
        ".resources.",
    )  # what stands in them is Kubernetes'
    listed = {name for name in names(VALUES) if not any(part in name for part in free)}
    assert set(known(schema)) - {"global"} == listed


def test_every_value_is_explained() -> None:
    """By a comment beside it or above it; what is nested deeper, by that of what it is in."""
    above = ""
    for line in (CHART / "values.yaml").read_text("utf-8").splitlines():
        if re.match(r"(  )?\w+:", line):
            assert "# " in line or above.lstrip().startswith("# "), line
        above = line


def test_every_setting_that_it_names_is_one() -> None:
    named = set(re.findall(r"\bCHALLENGE_[A-Z_]+", TEMPLATES + (CHART / "values.yaml").read_text()))
    assert named <= {f"CHALLENGE_{name.upper()}" for name in Settings.model_fields}


def test_it_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == PROJECT["project"]["version"]
    for page in (ROOT / "deploy/README.md", CHART / "README.md"):
        tags = set(re.findall(r"REGISTRY/challenge:(\S+?)[` ]", page.read_text("utf-8")))
        assert tags == {chart["appVersion"]}


def test_its_pods_run_as_the_images_user() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    assert user
    assert f"runAsUser: {user[1]}\n" in TEMPLATES
    assert f"runAsGroup: {user[2]}\n" in TEMPLATES


def test_readiness_is_asked_of_the_public_service() -> None:
    service = challenge_pb2.DESCRIPTOR.services_by_name["ChallengeService"].full_name
    assert f"service: {service}}}" in TEMPLATES


def test_liveness_knows_nothing_of_the_database() -> None:
    assert VALUES["livenessName"] == LIVENESS
