"""An export of anything at all holds or is refused in one line: nothing in it breaks a checker."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.commands.cli import main
from service.evidence.signing import TYPE, Signer
from service.keyring import EvidenceKeys

EXAMPLE = Path(__file__).parents[2] / "examples/check_evidence.py"
KEYS = EvidenceKeys(bytes(32))
AT = "2026-01-01T00:00:00.000Z"
PAYMENT = {"amount_minor": 1999, "currency": "EUR", "payee": "Acme"}
SALTED = {"salt": "0f" * 16, "value": "--0123"}
COMMITTED = hashlib.sha256((SALTED["salt"] + SALTED["value"]).encode()).hexdigest()
EVENTS: list[dict[str, Any]] = [
    {"event": "opened", "session_id": "cs_1", "account_uid": "a", "scope": "payment",
     "allowed_origins": ["https://shop.example"], "merchant": "Acme", "challenge_expected": True,
     "expires_at": AT},
    {"event": "challenged", "challenge_id": "c", "type": "sms", "fallback": "dead",
     "site_key": "key", "payment": PAYMENT, "hint_sha256": COMMITTED},
    {"event": "tried", "challenge_id": "c", "try": 1, "claimed_at": AT, "page_origin": "https://x",
     "channel": "twilio", "message_id": "m", "outcome": "accepted", "dispatch": "sent",
     "code_expires_at": AT},
    {"event": "tried", "challenge_id": "c", "try": 2, "claimed_at": AT, "outcome": "refused",
     "dispatch": "dead", "reason": "21211", "refused": True, "code_expires_at": AT},
    {"event": "answered", "challenge_id": "c", "verdict": "wrong", "reason": "refused",
     "payment": PAYMENT, "wrong_code": 1, "wrong_total": 1, "answers_left": 4,
     "remote_ip_sha256": COMMITTED},
    {"event": "answered", "challenge_id": "c", "verdict": "right", "payment": PAYMENT,
     "wrong_code": 1, "wrong_total": 1, "until": AT, "confirms_left": 9},
    {"event": "confirmed", "challenge_id": "c", "payment": PAYMENT, "confirms_left": 8,
     "remote_ip_sha256": COMMITTED},
    {"event": "updated", "allowed_origins": [], "merchant": "Acme", "expires_at": AT,
     "payment": PAYMENT, "voids": True},
    {"event": "waived", "payment": PAYMENT, "proof": "3ds ds-1", "by": "shop"},
    {"event": "closed", "state": "completed"},
    {"event": "erased", "challenge_id": "c", "fallback": True},
]  # fmt: skip
"""An event of each kind, with every key that it may have."""
UNSIGNED = ("format", "head", "signature", "jwks", "thumbprint")
GARBAGE = (
    None, True, -1, 2**63, 10**30, 1.5, float("nan"), "", "\x1b]0;a\x07\n\u202e", "\ud800",
    [], [None], {"a": {"b": [None, {"c": 1}]}}, "9999-12-31T23:59:59.999Z",
    "2026-02-31T00:00:00.000Z",
)  # fmt: skip


def hashed(value: object) -> str:
    """Hashes as whoever forges an export would: whatever it is."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = value if isinstance(value, str) else text
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def signed(story: dict[str, Any]) -> dict[str, Any]:
    """Chains the events of a story and signs them, whatever they say."""
    story = {"session_id": "", **copy.deepcopy(story)}
    head, seq = hashed(story["session_id"]), 0
    for seq, event in enumerate(story["events"] if isinstance(story["events"], list) else [], 1):
        if isinstance(event, dict):
            story["events"][seq - 1] = event = {"seq": seq, "previous": head, "at": AT, **event}
        head = hashed(event)
    signer = Signer(KEYS)
    claims = {
        "session_id": story["session_id"],
        "events": seq,
        "head": head,
        "personal": hashed(story["personal"]),
        "at": AT,
        **story.pop("claims"),
    }
    header = json.dumps({"alg": "EdDSA", "typ": TYPE}).encode()
    parts = [header, json.dumps(claims).encode()]
    key = Ed25519PrivateKey.from_private_bytes(KEYS.signature)
    parts.append(key.sign(b".".join(map(b64, parts))))
    return {
        "format": "challenge-evidence-1",
        "head": head,
        "signature": b".".join(map(b64, parts)).decode(),
        "jwks": {"keys": [signer.jwk]},
        "thumbprint": signer.thumbprint,
        **story,
    }


def b64(data: bytes) -> bytes:
    """Encodes as RFC 7515 does."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def story() -> dict[str, Any]:
    """Tells of each event once."""
    return {
        "session_id": "cs_1",
        "events": copy.deepcopy(EVENTS),
        "personal": {"2": {"hint": dict(SALTED)}, "5": {"remote_ip": dict(SALTED)}},
        "claims": {},
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Walks to everything that holds something, objects and lists too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, found in inside:
        yield (*path, key)
        if isinstance(found, dict | list):
            yield from places(found, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    """Returns what stands at a place."""
    for key in path:
        document = document[key]
    return document


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Returns a copy in which something else stands at one place."""
    other = copy.deepcopy(document)
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return other


@pytest.fixture
def shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """Has each checker look at a text; what each complains of in a line, "" where it holds."""
    file = tmp_path / "evidence.json"
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    html = ["--html", "--time-zone", "Asia/Kathmandu"]

    def command(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["evidence", "--check", str(file), *options])
        return told(ended.value.code)

    def page() -> str:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(file)])
        try:
            runpy.run_path(str(EXAMPLE), run_name="__main__")
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            return told(1)
        return told(0)

    def told(status: object) -> str:
        out, problem = capsys.readouterr()
        if status == 0:
            assert (bool(out), problem) == (True, "")
            return ""
        assert (status, out, len(problem.splitlines())) == (1, "", 1)
        assert problem[:-1].isascii()
        assert problem[:-1].isprintable()
        assert "does not hold: " in problem
        return problem

    def show(text: str) -> list[str]:
        file.write_text(text, "utf-8")
        return [command(), command(*html), page()]

    return show


def test_the_walked_export_holds(shown: Callable[[str], list[str]]) -> None:
    assert shown(json.dumps(signed(story()))) == ["", "", ""]


@pytest.mark.slow
@pytest.mark.parametrize("garbage", GARBAGE, ids=ascii)
def test_garbage_that_was_signed_is_refused_or_shown(
    shown: Callable[[str], list[str]], garbage: Any
) -> None:
    claims = [("claims", name) for name in ("session_id", "events", "head", "personal", "at")]
    walked = [path for path in places(story()) if path != ("claims",)] + claims
    assert len(walked) > 100
    for path in walked:
        checked, as_page, _ = shown(json.dumps(signed(put(story(), path, garbage))))
        assert checked == as_page, path
    whole = signed(story())
    for path in places({key: whole[key] for key in UNSIGNED}):
        assert all(shown(json.dumps(put(whole, path, garbage)))), path
    assert all(shown(json.dumps(garbage)))


@pytest.mark.slow
def test_what_is_left_out_is_refused_or_shown(shown: Callable[[str], list[str]]) -> None:
    for path in places(story()):
        other = story()
        del at(other, path[:-1])[path[-1]]
        if path != ("claims",):
            checked, as_page, _ = shown(json.dumps(signed({"events": [], "personal": {}, **other})))
            assert checked == as_page, path


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "[" * 100_000,
        lambda text: text.replace('"seq": 2', '"seq": ' + "2" * 5000),
        lambda text: text.replace('"verdict": "wrong"', '"verdict": "right", "verdict": "wrong"'),
        lambda text: text[:-1] + ', "head": "0"}',
        lambda text: text[:-1],
    ],
    ids=["deep", "long", "twice", "two heads", "cut"],
)
def test_what_readers_would_see_differently_is_refused(
    shown: Callable[[str], list[str]], spoil: Callable[[str], str]
) -> None:
    assert all(shown(spoil(json.dumps(signed(story())))))


def test_a_key_more_is_refused_or_shown(shown: Callable[[str], list[str]]) -> None:
    whole = signed(story())
    objects = [(), *(path for path in places(whole) if isinstance(at(whole, path), dict))]
    for path in objects:
        if path[:1] not in (("events",), ("personal",)):
            assert all(shown(json.dumps(put(whole, (*path, "added"), "x")))), path
    for path in [path for path in objects if path[:1] in (("events",), ("personal",))]:
        problem, as_page, _ = shown(json.dumps(signed(put(story(), (*path, "added"), "x"))))
        assert "added" in problem
        assert problem == as_page
