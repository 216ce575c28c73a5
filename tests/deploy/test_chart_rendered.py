"""`deploy/chart/` rendered by Helm: Kubernetes takes it, and Envoy what it makes of envoy.yaml."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.test_chart import CHART, VALUES
from tests.harness import programs
from tests.rest.edge import ROOT

REQUIRED = {name: "https://issuer.example" for name in VALUES["settings"]}
CASES: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "with TLS": ("edge.tls.enabled=true", "edge.public.type=LoadBalancer"),
    "watched": ("serviceMonitor.enabled=true", "serviceMonitor.labels.team=payments",
                "serviceMonitor.alerts=groups: []"),
    "in full": ("pullSecrets[0].name=pull", "service.nodeSelector.disk=ssd", "image.tag=t",
                "edge.public.annotations.a=b", "edge.tolerations[0].operator=Exists",
                "edge.public.type=NodePort", "serviceAccountName=pay"),
    "bare": ("service.autoscaling.enabled=false", "edge.autoscaling.enabled=false",
             "migrate.enabled=false", "networkPolicy.enabled=false"),
}  # fmt: skip
_BIN = Path(sys.executable).parent
Object = dict[str, Any]


def helm(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (programs.find("helm"), *args), capture_output=True, text=True, check=False
    )


def options(*changes: str) -> list[str]:
    settings = [f"settings.{name}={value}" for name, value in REQUIRED.items()]
    sets = [option for change in (*settings, *changes) for option in ("--set", change)]
    return ["--kube-version", oldest(), *sets]


def oldest() -> str:
    """The oldest Kubernetes that the chart says it runs on."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    found = re.match(r">=([\d.]+)", chart["kubeVersion"])
    assert found
    return found[1]


@cache
def rendered(*changes: str) -> list[Object]:
    done = helm("template", "shop", str(CHART), "--namespace", "pay", *options(*changes))
    assert done.returncode == 0, done.stderr
    return [tree for tree in yaml.safe_load_all(done.stdout) if tree]


def one(kind: str, name: str, *changes: str) -> Object:
    [found] = [
        tree
        for tree in rendered(*changes)
        if (tree["kind"], tree["metadata"]["name"]) == (kind, f"shop-challenge{name}")
    ]
    return found


def templates(*changes: str) -> list[Object]:
    """The pods that Deployments and Jobs make."""
    return [
        tree["spec"]["template"]
        for tree in rendered(*changes)
        if tree["kind"] in ("Deployment", "Job")
    ]


def containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"]["containers"]
    yield from pod["spec"].get("initContainers", ())


every_case = pytest.mark.parametrize("changes", CASES.values(), ids=CASES)


def test_the_page_installs_it() -> None:
    page = (CHART / "README.md").read_text("utf-8")
    commands = re.findall(r"^\$ helm (?:install|upgrade) .*?(?<!\\)$", page, re.M | re.S)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))[2:]
        words = ["template", *(str(CHART) if word == "deploy/chart" else word for word in words)]
        leave = ("install", "upgrade", "--reset-then-reuse-values")
        words = [word for word in words if word not in leave]
        given = options() if " upgrade " in command else options()[:2]  # by what was installed
        done = helm(*words, *given)
        assert done.returncode == 0, done.stderr


@every_case
def test_helm_finds_nothing_to_complain_of(changes: tuple[str, ...]) -> None:
    done = helm("lint", "--strict", str(CHART), *options(*changes))
    assert done.returncode == 0, done.stdout


@every_case
@pytest.mark.parametrize("version", [oldest(), kubernetes_validate.latest_version()])
def test_kubernetes_takes_every_object(version: str, changes: tuple[str, ...]) -> None:
    operators = ("ServiceMonitor", "PrometheusRule")
    checked = [tree for tree in rendered(*changes) if tree["kind"] not in operators]
    for tree in checked:
        kubernetes_validate.validate(tree, version, strict=True)
    assert checked


@every_case
def test_no_pod_may_more_than_it_must(changes: tuple[str, ...]) -> None:
    for pod in templates(*changes):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


@every_case
def test_secrets_are_only_named(changes: tuple[str, ...]) -> None:
    assert "Secret" not in {tree["kind"] for tree in rendered(*changes)}
    secret = {"secretRef": {"name": VALUES["secretName"]}}
    pods = [pod for pod in templates(*changes) if "edge" not in pod["metadata"]["labels"].values()]
    for pod in pods:
        assert [container["envFrom"] for container in containers(pod)] == [[secret]]


@pytest.mark.parametrize("drain", [10, 25])
def test_a_replica_has_the_time_to_drain(drain: int) -> None:
    pod = one("Deployment", "", f"drainSeconds={drain}")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 2 * drain + 15
    [container] = pod["containers"]
    setting = {"name": "CHALLENGE_DRAIN_SECONDS", "value": str(drain)}
    assert setting in container["env"]


@every_case
def test_selectors_find_pods_and_ports_that_there_are(changes: tuple[str, ...]) -> None:
    labels = [pod["metadata"]["labels"] for pod in templates(*changes)]
    ports = {
        port["name"]
        for pod in templates(*changes)
        for container in containers(pod)
        for port in container.get("ports", ())
    }
    for tree in rendered(*changes):
        if tree["kind"] == "PrometheusRule":
            continue
        spec = tree.get("spec", {})
        selector = spec.get("selector", {})
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= found.items() for found in labels), tree["metadata"]
        if tree["kind"] == "Service":
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        if tree["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]["name"].removeprefix("shop-challenge")
            assert "replicas" not in one("Deployment", target, *changes)["spec"]


def test_the_schema_is_migrated_before_replicas_start() -> None:
    job = one("Job", "-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]


def test_the_migration_may_reach_the_database_before_there_is_anything_else() -> None:
    policy, job = one("NetworkPolicy", "-migrate"), one("Job", "-migrate")
    hooks = [tree["metadata"]["annotations"] for tree in (policy, job)]
    assert hooks[0]["helm.sh/hook"] == hooks[1]["helm.sh/hook"]
    assert int(hooks[0]["helm.sh/hook-weight"]) < int(hooks[1].get("helm.sh/hook-weight", 0))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["egress"] == one("NetworkPolicy", "")["spec"]["egress"]


@every_case
def test_every_container_says_what_it_needs(changes: tuple[str, ...]) -> None:
    for pod in templates(*changes):
        for container in containers(pod):
            assert container["resources"].keys() == {"requests", "limits"}
        for volume in pod["spec"]["volumes"]:
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None})


def test_every_pod_of_the_service_goes_where_it_may() -> None:
    pods = templates("service.nodeSelector.disk=ssd", "service.tolerations[0].operator=Exists")
    [edge] = [pod for pod in pods if "edge" in pod["metadata"]["labels"].values()]
    assert "nodeSelector" not in edge["spec"]
    for pod in pods:
        zone, node = pod["spec"]["topologySpreadConstraints"]
        assert zone["topologyKey"] == "topology.kubernetes.io/zone"
        assert node["topologyKey"] == "kubernetes.io/hostname"
        if pod is not edge:
            assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
            assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(("kind", "said"), [("LoadBalancer", "Local"), ("ClusterIP", None)])
def test_payers_keep_their_addresses(kind: str, said: str | None) -> None:
    service = one("Service", "-public", f"edge.public.type={kind}")
    assert service["spec"].get("externalTrafficPolicy") == said


def test_a_number_of_a_file_of_values_is_written_out(tmp_path: Path) -> None:
    name = "CHALLENGE_ACCOUNT_SENDS_PER_HOUR"
    values = tmp_path / "values.yaml"
    values.write_text(f"settings: {{{name}: 1000000, CHALLENGE_SEND_WAIT_SECONDS: 1.5, A: true}}")
    done = helm("template", "shop", str(CHART), *options(), "-f", str(values))
    trees = yaml.safe_load_all(done.stdout)
    [pod] = [tree for tree in trees if tree["metadata"]["name"] == "shop-challenge"
             and tree["kind"] == "Deployment"]  # fmt: skip
    [container] = pod["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one["value"] for one in container["env"]}
    assert (found[name], found["CHALLENGE_SEND_WAIT_SECONDS"], found["A"]) == (
        "1000000", "1.5", "true",
    )  # fmt: skip


def test_envoy_is_replaced_when_its_configuration_changes_and_only_then() -> None:
    def annotations(*changes: str) -> dict[str, str]:
        found: dict[str, str] = one("Deployment", "-edge", *changes)["spec"]["template"]["metadata"]
        return found["annotations"]  # type: ignore[return-value]

    assert annotations("edge.trustedHops=2") != annotations()
    assert annotations("edge.autoscaling.maxReplicas=9") == annotations()


@pytest.mark.parametrize("value", ["edge.tls.enable=true", "replicas=3", "edge.trustedHops=two"])
def test_a_value_that_there_is_not_is_refused(value: str) -> None:
    done = helm("template", "shop", str(CHART), *options(value))
    assert done.returncode != 0
    assert "values don't meet the specifications" in done.stderr


def test_the_alerts_are_those_that_are_tested() -> None:
    alerts = ROOT / "deploy/prometheus/alerts.yaml"
    file = ("--set-file", f"serviceMonitor.alerts={alerts}")
    done = helm("template", "shop", str(CHART), *options("serviceMonitor.enabled=true"), *file)
    [rule] = [tree for tree in yaml.safe_load_all(done.stdout) if tree["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(alerts.read_text("utf-8"))


def test_a_setting_that_is_required_is_asked_for() -> None:
    for name in REQUIRED:
        done = helm("template", "shop", str(CHART), *options(f"settings.{name}="))
        assert done.returncode != 0
        assert f"settings.{name} is not set" in done.stderr


def test_the_job_is_called_as_the_alerts_expect() -> None:
    monitor = one("ServiceMonitor", "", *CASES["watched"])
    service = one("Service", "", *CASES["watched"])
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "challenge"
    assert monitor["spec"]["endpoints"][0]["port"] in {
        port["name"] for port in service["spec"]["ports"]
    }


def test_the_service_reaches_what_the_security_document_names() -> None:
    document = (ROOT / "docs/security.md").read_text("utf-8").partition("## Egress")[2]
    named = {int(port) for row in re.findall(r"\|([^|\n]+)\|\n", document) for port in
             re.findall(r"\b\d{2,5}\b", row)}  # fmt: skip
    egress = one("NetworkPolicy", "")["spec"]["egress"]
    open_ports = {port["port"] for rule in egress for port in rule["ports"]}
    assert open_ports == named - {4317}, "a collector is where its owner says"


@pytest.mark.parametrize("changes", [CASES["as it is"], CASES["with TLS"]], ids=["plain", "tls"])
def test_envoy_takes_the_configuration(tmp_path: Path, changes: tuple[str, ...]) -> None:
    for name, text in one("ConfigMap", "-edge", *changes)["data"].items():
        (tmp_path / name).write_text(text, "utf-8")
    pod = one("Deployment", "-edge", *changes)["spec"]["template"]["spec"]
    [first] = pod["initContainers"]
    assert first["command"][0] == "python", "a base may have no shell"
    command = [
        re.sub("^/(etc|run)/edge", str(tmp_path), word)
        for word in (*first["command"], *first["args"])
    ]
    subprocess.run([_BIN / command[0], *command[1:]], cwd=ROOT, check=True)
    config = tmp_path / "envoy.yaml"
    subprocess.run(
        [_BIN / "envoy", "--mode", "validate", "-l", "error", "-c", config], cwd=ROOT, check=True
    )
    tree = yaml.safe_load(config.read_text("utf-8"))["static_resources"]
    whole = yaml.safe_load((ROOT / "envoy.yaml").read_text("utf-8"))["static_resources"]
    for kind in ("listeners", "clusters"):
        assert [item["name"] for item in tree[kind]] == [item["name"] for item in whole[kind]]
    for cluster in tree["clusters"]:
        [endpoints] = cluster["load_assignment"]["endpoints"]
        [endpoint] = endpoints["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address == {"address": "shop-challenge.pay.svc", "port_value": 50051}
        assert "outlier_detection" in cluster
    ports = {
        listener["name"]: listener["address"]["socket_address"] for listener in tree["listeners"]
    }
    [container] = pod["containers"]
    assert {(port["name"], "0.0.0.0", port["containerPort"]) for port in container["ports"]} == {
        (name, address["address"], address["port_value"]) for name, address in ports.items()
    }
