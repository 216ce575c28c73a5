"""`proto/` is all that a compiler needs, `gen/descriptors.binpb` all that a caller's tool does."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.harness.marks import one_database
from tests.harness.service import Service

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"
OURS = sorted(path.relative_to(ROOT / "proto") for path in ROOT.glob("proto/govifi/**/*.proto"))
LICENSE = "http://www.apache.org/licenses/LICENSE-2.0"
DESCRIBED = FileDescriptorSet.FromString((ROOT / "gen/descriptors.binpb").read_bytes()).file


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """`proto/` and nothing else."""
    return shutil.copytree(ROOT / "proto", tmp_path / "proto")


def test_buf_builds_it_alone(alone: Path) -> None:
    subprocess.run([BUF, "build", "-o", alone / "image.binpb"], cwd=alone, check=True)
    # What it reads are our rules, too: each must be an expression that compiles.
    subprocess.run([BUF, "lint"], cwd=alone, check=True)


def test_protoc_compiles_it_alone(alone: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--descriptor_set_out=all.binpb"]
    subprocess.run([*command, *map(str, OURS)], cwd=alone, check=True)


@pytest.mark.parametrize("name", ["annotations.proto", "http.proto"])
def test_googles_files_are_those_that_the_stubs_import(name: str) -> None:
    theirs = resources.files("google.api").joinpath(name).read_text("utf-8")
    assert (ROOT / "proto/google/api" / name).read_text("utf-8") == theirs
    assert LICENSE in theirs


def test_the_file_of_the_rules_carries_its_licence() -> None:
    assert LICENSE in (ROOT / "proto/buf/validate/validate.proto").read_text("utf-8")


def test_every_file_says_what_go_and_java_call_it() -> None:
    options = {file.name: file.options for file in DESCRIBED if file.name.startswith("govifi/")}
    assert set(options) == set(map(str, OURS))
    for option in options.values():
        assert option.go_package.endswith(";challengev1")
        assert option.java_package == "com.govifi.challenge.v1"
        assert option.java_multiple_files
    assert len({option.java_outer_classname for option in options.values()}) == len(options)


def test_every_link_of_the_reference_leads_somewhere() -> None:
    text = (ROOT / "docs/reference.md").read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = [heading.lower().replace(".", "").replace(" ", "-") for heading in headings]
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= set(anchors)
    assert len(set(anchors)) == len(anchors), "two headings have one anchor"
    for file in DESCRIBED:
        for service in file.service:
            assert {method.name for method in service.method} <= set(headings)


@pytest.mark.parametrize("project", ["", "clients/python"])
def test_what_is_installed_with_the_stubs_runs_them(project: str) -> None:
    text = (ROOT / "gen/govifi/challenge/v1/challenge_admin_pb2.py").read_text("utf-8")
    protobuf = re.findall(r"^    (\d+),$", text, re.MULTILINE)
    text = (ROOT / "gen/govifi/challenge/v1/challenge_admin_pb2_grpc.py").read_text("utf-8")
    [grpcio] = re.findall(r"^GRPC_GENERATED_VERSION = '(.+)'$", text, re.MULTILINE)
    written = tomllib.loads((ROOT / project / "pyproject.toml").read_text("utf-8"))
    assert {f"protobuf>={'.'.join(protobuf)}", f"grpcio>={grpcio}"} <= {
        *written["project"]["dependencies"]
    }


@one_database
async def test_buf_curl_calls_by_the_descriptors(service: Service) -> None:
    session = await service.challenged()
    process = await asyncio.create_subprocess_exec(
        BUF, "curl", "--schema", "gen/descriptors.binpb", "--protocol", "grpc",
        "--http2-prior-knowledge", "-H", f"authorization: Bearer {session.secret}",
        "-d", json.dumps({"session_id": session.session_id}),
        f"http://{service.target}/govifi.challenge.v1.ChallengeService/Send",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert json.loads(printed) == {"type": "sms", "deliveryHint": "--0123", "codeSent": True}
