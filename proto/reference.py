"""Makes the reference page of the protos' comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from buf.validate import validate_pb2 as rules
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
    ServiceDescriptorProto,
)

_HEAD = """# Reference of the gRPC API

Made from the comments and the rules in `proto/` by `make proto`. Over REST there is one call:
[openapi.yaml](openapi.yaml).

What a field must be is what BadRequest says of it. The rules are `buf.validate` annotations, which
[Protovalidate](https://protovalidate.com) checks in a caller's language, too, before a call.
"""
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6  # fields of FileDescriptorProto, in paths of source info
_NESTED_ENUMS, _MEMBERS = 4, 2
_NAMES = {
    value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()
}


def page(descriptors: bytes) -> str:
    """Returns the page in Markdown for a FileDescriptorSet with source info."""
    files = FileDescriptorSet.FromString(descriptors).file
    services = [part for file in files for part in _services(file)]
    messages = [part for file in files for part in _messages(file)]
    return "\n".join((_HEAD, *services, "## Messages\n", *messages)).rstrip() + "\n"


def _services(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for place, service in enumerate(file.service):
        yield f"## {file.package}.{service.name}\n"
        yield comments[(_SERVICES, place)]
        yield from _rpcs(service, (_SERVICES, place), comments)


def _rpcs(service: ServiceDescriptorProto, at: Sequence[int], comments: Any) -> Iterator[str]:
    for place, rpc in enumerate(service.method):
        takes, gives = (_link(name) for name in (rpc.input_type, rpc.output_type))
        yield f"### {rpc.name}\n\n{takes} → {gives}\n"
        yield comments[(*at, _MEMBERS, place)]
        if level := rpc.options.idempotency_level:
            yield f"May be repeated: `{MethodOptions.IdempotencyLevel.Name(level)}`.\n"


def _messages(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for place, message in enumerate(file.message_type):
        yield from _message(message, (_MESSAGES, place), comments)
    for place, enum in enumerate(file.enum_type):
        yield from _enum(enum, enum.name, (_ENUMS, place), comments)


def _message(message: DescriptorProto, at: Sequence[int], comments: Any) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield comments[tuple(at)]
    for rule in message.options.Extensions[rules.message].cel:
        yield f"`{rule.id}` {rule.message}.\n"
    if message.field:
        ruled = any(field.options.HasExtension(rules.field) for field in message.field)
        yield "| field | type | |" + " rule |" * ruled
        yield "|---|---|---|" + "---|" * ruled
        for place, field in enumerate(message.field):
            said = _line(comments[(*at, _MEMBERS, place)])
            row = f"| {field.number} `{field.name}` | {_type(message, field)} | {said} |"
            yield row + f" {_rule(field)} |" * ruled
        yield ""
    for place, enum in enumerate(message.enum_type):
        name = f"{message.name}.{enum.name}"
        yield from _enum(enum, name, (*at, _NESTED_ENUMS, place), comments)


def _enum(enum: EnumDescriptorProto, name: str, at: Sequence[int], comments: Any) -> Iterator[str]:
    yield f"### {name}\n"
    yield comments[tuple(at)]
    yield "| value | |\n|---|---|"
    for place, value in enumerate(enum.value):
        yield f"| {value.number} `{value.name}` | {_line(comments[(*at, _MEMBERS, place)])} |"
    yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    name = _link(field.type_name) if field.type_name else _NAMES[field.type]
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _rule(field: FieldDescriptorProto) -> str:
    """Says what a field must be, in the rules' own words where they have some."""
    return _line("; ".join(_rules(field.options.Extensions[rules.field])))


def _rules(rule: rules.FieldRules) -> Iterator[str]:
    yield from (cel.message for cel in rule.cel)
    kind = rule.WhichOneof("type")
    if kind is None:
        return
    standard = getattr(rule, kind)
    for name, value in standard.ListFields():
        if name.name == "items":
            yield from (f"each {said}" for said in _rules(value))
        else:
            shown = (
                f"{{{text_format.MessageToString(value, as_one_line=True)}}}"
                if name.type == name.TYPE_MESSAGE
                else str(value).lower()
            )
            yield f"`{kind}.{name.name}: {shown}`"


def _link(full: str) -> str:
    """Names a type; links to it if it is on the page."""
    if not full.startswith(".govifi."):
        return full.removeprefix(".")
    # A nested type is named with the one around it, a package's part is in lower case.
    name = ".".join(part for part in full.split(".") if part[:1].isupper())
    return f"[{name}](#{name.lower().replace('.', '')})"


class _Comments(dict[tuple[int, ...], str]):
    def __missing__(self, _: tuple[int, ...]) -> str:
        return ""


def _comments(file: FileDescriptorProto) -> _Comments:
    """Reads the comment before each element, by the element's path."""
    return _Comments(
        (tuple(location.path), _text(location.leading_comments))
        for location in file.source_code_info.location
        if location.leading_comments
    )


def _text(comment: str) -> str:
    lines = [line.removeprefix(" ").rstrip() for line in comment.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("buf:lint:")).strip() + "\n"


def _line(comment: str) -> str:
    return re.sub(r"\s+", " ", comment).strip().replace("|", "\\|")
