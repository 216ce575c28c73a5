"""Makes the browser client's types of the OpenAPI document's schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_HEAD = "// Made from docs/openapi.yaml by `make proto`.\n"
_SIMPLE = {"string": "string", "integer": "number", "boolean": "boolean", "null": "null"}
_SHOWN = ("Challenge", "CaptchaChallenge", "CodeChallenge", "Error")
"""What an answer holds; the rest describes requests and headers."""
_INDENT = "  "


def declarations(document: str) -> str:
    """Returns the types in TypeScript for an OpenAPI document in YAML."""
    schemas = yaml.safe_load(document)["components"]["schemas"]
    return _HEAD + "".join(
        f"\n{_comment(schemas[name])}export type {_name(name)} = {_type(schemas[name], schemas)};\n"
        for name in _SHOWN
    )


def _name(schema: str) -> str:
    return "ErrorBody" if schema == "Error" else schema  # the language has an Error of its own


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any], indent: str = "") -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _name(name) if name in _SHOWN else _type(schemas[name], schemas)
    if "oneOf" in schema:
        return " | ".join(_type(one, schemas) for one in schema["oneOf"])
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if schema["type"] == "object":
        return "{\n" + "".join(_members(schema, schemas, indent + _INDENT)) + indent + "}"
    return _SIMPLE[schema["type"]]


def _members(schema: Mapping[str, Any], schemas: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, member in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else "?"
        yield _comment(member, indent)
        yield f"{indent}{name}{optional}: {_type(member, schemas, indent)};\n"


def _comment(schema: Mapping[str, Any], indent: str = "") -> str:
    lines = schema.get("description", "").split("\n")
    text = " ".join(line.strip() for line in lines if line.strip())
    return f"{indent}/** {text} */\n" if text else ""
