"""docs/openapi.yaml says what the protos, the error table and the proxy say, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from govifi.challenge.v1 import challenge_pb2, error_pb2
from referencing import Registry, Resource

from service import errors
from service.api.error_table import BUG, TABLE

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[1]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text("utf-8"))
ENVOY: dict[str, Any] = yaml.safe_load((ROOT / "envoy.yaml").read_text("utf-8"))
PATH = "/v1/hosted-sessions/{sessionId}/challenge/send"
POST: dict[str, Any] = DOCUMENT["paths"][PATH]["post"]
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
INTERNAL = {
    errors.SessionConflict, errors.ChallengeRequired, errors.NoFallback, errors.MalformedResponse,
    errors.CaptchaRefused, errors.CaptchaExpired, errors.CaptchaUnavailable, errors.WrongAnswer,
    errors.CodeExpired, errors.CodeReplaced, errors.RequestTooLarge, errors.UnknownRpc,
    errors.UnreadableRequest,
    errors.TokenInvalid, errors.TokenScopeMissing, errors.EvidenceBroken,
}  # fmt: skip
"""Errors of the internal API only."""
FROM_THE_PROXY = {400, 404, 405, 408, 413, 415, 422, 429, 431, 500, 503, 504}
"""Statuses that the proxy makes; those that its routes answer are among them."""

Answer = tuple[int, str, bool, str]
"""HTTP status, code, recoverable, message."""


@pytest.mark.slow
def test_it_is_openapi_31() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert list(DOCUMENT["paths"]) == [PATH]
    assert DOCUMENT["paths"][PATH].keys() == {"parameters", "post"}


def test_the_challenge_is_the_protos() -> None:
    parts = [SCHEMAS["CaptchaChallenge"], SCHEMAS["CodeChallenge"]]
    names = [f"#/components/schemas/{name}" for name in ("CaptchaChallenge", "CodeChallenge")]
    assert SCHEMAS["Challenge"]["oneOf"] == [*({"$ref": name} for name in names), {"type": "null"}]
    assert set().union(*(part["properties"] for part in parts)) == set(
        challenge_pb2.Challenge.DESCRIPTOR.fields_by_name
    )
    types = [name for part in parts for name in part["properties"]["type"]["enum"]]
    assert types == challenge_pb2.Challenge.Type.keys()[1:]
    for part in parts:
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])


def test_the_error_is_the_protos() -> None:
    error = SCHEMAS["Error"]
    assert list(error["properties"]) == list(error_pb2.Error.DESCRIPTOR.fields_by_name)
    assert error["properties"]["code"]["enum"] == error_pb2.Error.Code.keys()[1:]
    assert error["additionalProperties"] is False
    assert error["required"] == list(error["properties"])


def proxy_answers() -> Iterator[Answer]:
    """What section 10 of envoy.yaml makes of each status."""
    public = ENVOY["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    mappers = public["typed_config"]["local_reply_config"]["mappers"]
    for status in FROM_THE_PROXY:
        first = next(mapper for mapper in mappers if fits(mapper["filter"], status))
        body = first["body_format_override"]["json_format"]
        yield status, body["code"], body["recoverable"], body["message"]


def fits(rule: dict[str, Any], status: int) -> bool:
    if "or_filter" in rule:
        return any(fits(part, status) for part in rule["or_filter"]["filters"])
    comparison = rule["status_code_filter"]["comparison"]
    limit: int = comparison["value"]["default_value"]
    return status == limit if comparison["op"] == "EQ" else status >= limit


def examples() -> Iterator[tuple[int, Any]]:
    for status, response in POST["responses"].items():
        for content in response["content"].values():
            for example in content["examples"].values():
                yield int(status), example["value"]


def test_every_answer_is_an_example_and_every_example_an_answer() -> None:
    rows = [row for error, row in TABLE.items() if error not in INTERNAL]
    made = {(row.http, row.code, row.recoverable, row.message) for row in (*rows, BUG)}
    made |= set(proxy_answers())
    shown = [
        (status, value["code"], value["recoverable"], value["message"])
        for status, value in examples()
        if status >= 400
    ]
    assert set(shown) == made
    assert len(shown) == len(set(shown))


def test_every_status_of_the_proxys_routes_is_described() -> None:
    public = (ROOT / "envoy.yaml").read_text("utf-8").partition("- name: internal")[0]
    routes = {int(status) for status in re.findall(r"direct_response: \{status: (\d+)\}", public)}
    assert routes - {204} <= FROM_THE_PROXY  # 204 answers preflights, for browsers alone


def test_every_answer_of_200_has_an_example() -> None:
    values = [value for status, value in examples() if status == 200]
    shown = [value and (value["type"], value.get("code_sent")) for value in values]
    assert shown == [
        ("hcaptcha", None), ("turnstile", None), ("sms", True), ("sms", False),
        ("email", True), ("email", False), None,
    ]  # fmt: skip


def everything_with_examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Finds each example and the schema beside it."""
    todo: list[tuple[str, Any]] = [("", DOCUMENT)]
    while todo:
        where, node = todo.pop()
        if isinstance(node, dict):
            if "schema" in node:
                values = [example["value"] for example in node.get("examples", {}).values()]
                values += [node["example"]] if "example" in node else []
                assert values, f"{where} has no example"
                yield from ((where, node["schema"], value) for value in values)
            todo += [(f"{where}/{key}", value) for key, value in node.items()]
        elif isinstance(node, list):
            todo += [(f"{where}/{index}", value) for index, value in enumerate(node)]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    from jsonschema import Draft202012Validator, FormatChecker  # takes seconds to load

    resource = Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **DOCUMENT}
    )
    registry = Registry().with_resource("urn:openapi", resource)
    absolute = {"$ref": f"urn:openapi{schema['$ref']}"} if "$ref" in schema else schema
    return Draft202012Validator(absolute, registry=registry, format_checker=FormatChecker())


@pytest.mark.slow
def test_examples_fit_their_schemas() -> None:
    for where, schema, value in everything_with_examples():
        problems = [problem.message for problem in validator(schema).iter_errors(value)]
        assert not problems, f"{where}: {problems}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Challenge", {"type": "hcaptcha"}),
        ("Challenge", {"type": "hcaptcha", "site_key": "k", "code_sent": False}),
        ("Challenge", {"type": "sms", "delivery_hint": "--0123"}),
        ("Challenge", {"type": "sms", "delivery_hint": "+14155550123", "code_sent": True}),
        ("Challenge", {"type": "SMS", "delivery_hint": "--0123", "code_sent": True}),
        ("Challenge", {}),
        ("Error", {"code": "network_error", "message": "m", "recoverable": True}),
        ("SendRequest", {"session_id": "cs_1"}),
        ("SessionId", "cs_"),
        ("SessionId", "cs_a-b"),
    ],
)
def test_schemas_refuse_what_is_never_said(name: str, value: Any) -> None:
    assert not validator({"$ref": f"#/components/schemas/{name}"}).is_valid(value)


def test_headers_are_described() -> None:
    also = {"401": "www-authenticate", "405": "allow", "429": "retry-after"}
    for status, response in POST["responses"].items():
        expected = {"x-request-id", "cache-control", *({also[status]} if status in also else ())}
        assert response["headers"].keys() == expected, status


def test_it_takes_a_bearer_everywhere() -> None:
    assert DOCUMENT["security"] == [{"sessionCredential": []}]
    scheme = DOCUMENT["components"]["securitySchemes"]["sessionCredential"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert "security" not in POST
