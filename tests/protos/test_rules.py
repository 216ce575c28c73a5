"""Each rule in `proto/`, with values just inside and just outside of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2
from protovalidate import Validator

from service.api.boundary import known_form

VALIDATOR = Validator()
FILES = (challenge_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR)
MESSAGES: dict[str, Any] = {
    name: message._concrete_class
    for file in FILES
    for name, message in file.message_types_by_name.items()
}
SESSION_ID = (
    ["cs_1", "cs_" + "aZ9" * 41 + "aZ"],
    ["", "cs_", "CS_1", "xcs_1", "cs_1_", "cs_é", "cs_1\n", "cs_" + "a" * 126],
)
REQUEST_ID = (["", "a", "aZ09._-", "a" * 64], ["a" * 65, "a b", "a/b", "é", "a\n"])
NAME = (
    ["a", "a" * 64, "Café Zoë", "Cafe\u0301", "e\u0301" * 64, "\u1112\u1161\u11ab" * 64,
     "株式会社\u3000あ", "می\u200cخواهم", "a\u00a0b", "😀", "a.b", "a@ b", "wwwx", "éwww.x",
     "Mr. A/b", "a.b/", "shop.example", "Shop: a", "1.2.3", "v. 1.2", "A/B"],
    ["", " ", "\u200c\u3000\u00a0", "\u3164\u2800\u115f\u1160\uffa0", "x.ab:1", "x.ab?q", "x.ab#q",
     "http:x.ab", "TEL:+1", "192.0.2.1", "//x", "a" * 65, "é" * 65, "a\nb", "a\u2028b", "a\u202eb",
     "a\u200bb", "a\0", "\ue000", "https://x", "WWW.x", "a@b", "x.ab/", "é.бв/"],
)  # fmt: skip

ALLOWED_ORIGINS: tuple[list[Any], list[Any]] = (
    [
        [],
        ["https://shop.example"],
        ["http://a:1"],
        ["https://[::1]:8443"],
        ["https://a"] * 20,
        ["capacitor://localhost"],
        ["a" * 32 + "://x"],
        ["https://" + "a" * 253 + ":65535"],
    ],
    [
        ["https://a"] * 21,
        [""],
        ["https://"],
        ["shop.example"],
        ["https://Shop.example"],
        ["https://a/"],
        ["https://a:"],
        ["https://a:123456"],
        ["https://-a"],
        ["ftp://a"],
        ["about://a"],
        ["https://a", "x"],
        ["a" * 33 + "://x"],
        ["https://" + "a" * 254],
        ["https://[" + ":" * 46 + "]"],
        ["https://a\n"],
    ],
)
EXPIRES_IN: tuple[list[Any], list[Any]] = (
    [Duration(seconds=1), Duration(seconds=86400, nanos=999_999_999)],
    [
        Duration(),
        Duration(nanos=999_999_999),
        Duration(seconds=86401),
        Duration(seconds=-1),
        Duration(seconds=2**63 - 1, nanos=2**31 - 1),
        Duration(seconds=-(2**63)),
    ],
)
LOCALE: tuple[list[Any], list[Any]] = (
    ["", "en", "fil", "en_US", "ar-SA-u-nu-latn", "en" + "-a" * 8],
    ["e", "engl", "en-", "en--US", "en-123456789", "en" + "-a" * 9, "en US", "é"],
)

ROWS: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {
    **{(name, "session_id"): SESSION_ID for name, message in MESSAGES.items()
       if "session_id" in message.DESCRIPTOR.fields_by_name},
    **{(name, "request_id"): REQUEST_ID for name, message in MESSAGES.items()
       if "request_id" in message.DESCRIPTOR.fields_by_name},
    ("OpenSessionRequest", "account_uid"):
        (["a", "aZ09_-", "a" * 64], ["", "a" * 65, "a b", "a.b", "é"]),
    ("OpenSessionRequest", "client_secret_sha256"): ([bytes(32)], [b"", bytes(31), bytes(33)]),
    ("OpenSessionRequest", "scope"): ([0, 2], [-1, 3]),
    ("OpenSessionRequest", "allowed_origins"): ALLOWED_ORIGINS,
    ("OpenSessionRequest", "expires_in"): EXPIRES_IN,
    ("OpenSessionRequest", "locale"): LOCALE,
    ("OpenSessionRequest", "merchant_display_name"): NAME,
    **{("UpdateSessionRequest", name): values for name, values in (
        ("allowed_origins", ALLOWED_ORIGINS), ("expires_in", EXPIRES_IN), ("locale", LOCALE),
        ("merchant_display_name", (["", *NAME[0]], NAME[1][1:])),
    )},
    ("Payment", "payee"): NAME,
    ("WaiveChallengeRequest", "proof_kind"): (["", "3ds", "a0_-" * 8], ["3DS", "a b", "a" * 33]),
    ("WaiveChallengeRequest", "proof_reference"): (["", "~ !", "a" * 128], ["é", "\n", "a" * 129]),
    ("Payment", "amount_minor"): ([0, 2**63 - 1], [-1]),
    ("Payment", "currency"): (["EUR"], ["", "EU", "EURO", "eur", "ÉUR", "EUR\n"]),
    ("Captcha", "site_key"): (["!", "~" * 128], ["", "~" * 129, "a b", "\x7f", "é"]),
    ("Sms", "phone_number"):
        (["+14155550123", "+" + "1" * 31], ["", "14155550123", "+" + "1" * 32]),
    ("Email", "address"):
        (["a@b", "é@б"], ["", "a", "@b", "a@", "a\n@b", "a@b\x7f", "a@b\0"]),
    ("VerifyChallengeRequest", "type"): ([0, 4], [-1, 5]),
    ("VerifyChallengeRequest", "remote_ip"): (
        ["", "203.0.113.7", "::1", "::ffff:1.2.3.4"],
        ["203.0.113", "203.0.113.256", "::g", "1.2.3.4/8", "localhost", " ::1"],
    ),
    ("CloseSessionRequest", "outcome"): ([1, 2], [-1, 0, 3]),
    ("ListAttemptsRequest", "page_size"): ([0, 2**31 - 1], [-1]),
    ("ListAttemptsRequest", "page_token"): (["", "f" * 15], ["f" * 16, "g", "F"]),
}  # fmt: skip
"""By message and field: what is good, and what is not."""


def test_rules_of_one_name_are_one_rule() -> None:
    found: dict[str, set[str]] = {}
    for message in MESSAGES.values():
        for field in message.DESCRIPTOR.fields:
            rules = field.GetOptions().Extensions[validate_pb2.field]
            for rule in (*rules.cel, *rules.repeated.items.cel):
                found.setdefault(rule.id, set()).add(f"{rule.message} {rule.expression}")
    assert {"session_id", "request_id", "origin", "locale", "name", "name.address"} <= set(found)
    assert {name for name, rules in found.items() if len(rules) > 1} == set()


ISSUE, UPDATE = "IssueChallengeRequest", "UpdateSessionRequest"


def mask(*paths: str, **fields: Any) -> dict[str, Any]:
    return {"update_mask": {"paths": paths}, **fields}


OF_MESSAGES: dict[tuple[str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    (ISSUE, "method"): ([{"sms": {}}, {"email": {}}, {"hcaptcha": {}}, {"turnstile": {}}], [{}]),
    (ISSUE, "payment"): (
        [{"sms": {}, "payment": {}}, {"email": {}, "payment": {}}, {"hcaptcha": {}}],
        [{"hcaptcha": {}, "payment": {}}, {"turnstile": {}, "payment": {}}],
    ),
    (ISSUE, "fallback.method"): (
        [{}, {"sms": {}, "fallback": {"email": {}}}, {"sms": {}},
         {"turnstile": {}, "fallback": {"hcaptcha": {}}}],
        [{"fallback": {}}, *({name: {}, "fallback": {name: {}}}
                             for name in ("sms", "email", "hcaptcha", "turnstile"))],
    ),
    (UPDATE, "update_mask"): (
        [mask("payment"), mask("allowed_origins", "expire_time", "expires_in", "locale",
                               "merchant_display_name", "payment")],
        [{}, mask(), mask("*"), mask("locale", "scope"), mask("payment.payee")],
    ),
    (UPDATE, "merchant_display_name"): (
        [mask("locale"), mask("merchant_display_name", merchant_display_name="a")],
        [mask("merchant_display_name")],
    ),
    **{(UPDATE, name): ([mask("locale"), mask(name, **{name: {}})], [mask(name)])
       for name in ("expire_time", "expires_in", "payment")},
    ("EraseDestinationRequest", "destination"): ([{"sms": {}}, {"email": {}}], [{}]),
    ("WaiveChallengeRequest", "proof_kind"): (
        [{}, {"proof_kind": "3ds"}, {"proof_kind": "3ds", "proof_reference": "1"}],
        [{"proof_reference": "1"}],
    ),
}  # fmt: skip
"""By message and rule: which fields are good together, and which are not."""


def broken(message: Any) -> Iterator[tuple[str, str]]:
    """Gives the field of each violation, or the rule of all, and what is said of it."""
    for violation in VALIDATOR.collect_violations(message):
        told = violation.proto
        path = told.field.elements if told.field else ()
        yield ".".join(element.field_name for element in path) or told.rule_id, told.message


def told_of_all(message: Any) -> set[str]:
    """Names the rules over several fields that are broken."""
    violations = (each.proto for each in VALIDATOR.collect_violations(message))
    return {told.rule_id for told in violations if not told.field}


@pytest.mark.parametrize(("at", "values"), ROWS.items(), ids=map(".".join, ROWS))
def test_a_field_is_held_to_its_rule(
    at: tuple[str, str], values: tuple[list[Any], list[Any]]
) -> None:
    name, field = at
    inside, outside = values
    for value in inside:
        assert field not in dict(broken(MESSAGES[name](**{field: value}))), value
    for value in outside:
        said = dict(broken(MESSAGES[name](**{field: value}))).get(field)
        assert said, value
        assert said.startswith(("must ", "value must ")), said


@pytest.mark.parametrize(("at", "values"), OF_MESSAGES.items(), ids=map(".".join, OF_MESSAGES))
def test_fields_are_held_to_the_rule_of_all(
    at: tuple[str, str], values: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    name, rule = at
    inside, outside = values
    for fields in inside:
        assert not {rule} & told_of_all(MESSAGES[name](**fields)), fields
    for fields in outside:
        assert {rule} <= told_of_all(MESSAGES[name](**fields)), fields


def test_every_rule_is_walked() -> None:
    ruled = {
        (message.name, field.name)
        for message, field in _fields()
        if field.GetOptions().HasExtension(validate_pb2.field)
    }
    assert ruled == ROWS.keys()
    assert OF_MESSAGES.keys() == {
        (name, rule.id)
        for name, message in MESSAGES.items()
        for rule in message.DESCRIPTOR.GetOptions().Extensions[validate_pb2.message].cel
    }


def test_a_rule_of_several_fields_is_named_for_one() -> None:
    for name, rule in OF_MESSAGES:
        described = MESSAGES[name].DESCRIPTOR
        for part in rule.split("."):
            assert part in {**described.fields_by_name, **described.oneofs_by_name}
            field = described.fields_by_name.get(part)
            described = field.message_type if field else None


@pytest.mark.parametrize(
    "names",
    [("session_id",), ("request_id",), ("allowed_origins",), ("expires_in",), ("locale",),
     ("merchant_display_name", "payee")],
)  # fmt: skip
def test_what_is_of_one_kind_has_one_rule(names: tuple[str, ...]) -> None:
    rules = []
    for _, field in _fields():
        if field.name in names and field.GetOptions().HasExtension(validate_pb2.field):
            rule = validate_pb2.FieldRules()
            rule.CopyFrom(field.GetOptions().Extensions[validate_pb2.field])
            rule.ClearField("ignore")  # whether it may be absent
            rules.append(rule)
    assert len(rules) > 1
    assert all(rule == rules[0] for rule in rules)
    assert rules[0].ByteSize()


def test_logs_know_a_session_id_by_the_same_rule() -> None:
    inside, outside = SESSION_ID
    assert [known_form(text) for text in (*inside, *outside)] == [*inside, *(None for _ in outside)]


def _fields() -> Iterator[tuple[Descriptor, FieldDescriptor]]:
    for message in MESSAGES.values():
        for field in message.DESCRIPTOR.fields:
            yield message.DESCRIPTOR, field
