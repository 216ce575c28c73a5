"""The document of an export: what stands in it, and whether it holds, which anybody can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from service.evidence import forms
from service.evidence.chain import Broken, canonical, commitment, digest, moment, require_next
from service.evidence.signing import Signer, signed_claims, thumbprint

FORMAT = "challenge-evidence-1"


class Wrong(Exception):
    """A document that does not hold; the text says why."""


class Checked(NamedTuple):
    """A document that holds.

    Attributes:
        session_id: Of the session that it tells of.
        events: What happened, the oldest first.
        personal: For the number of an event, its salts and values.
        erased: What events commit to and `personal` has not: it was erased before the export.
        head: SHA-256 of the last event.
        exported_at: When it was signed, RFC 3339.
        thumbprint: Of the key that signed it: compare it with the one that you know.
    """

    session_id: str
    events: Sequence[Mapping[str, Any]]
    personal: Mapping[str, Mapping[str, Any]]
    erased: Sequence[str]
    head: str
    exported_at: str
    thumbprint: str


def write(
    signer: Signer, session_id: str, events: Sequence[tuple[str, str | None]], head: str, now: int
) -> str:
    """Writes a document.

    Args:
        signer: Signs its head.
        session_id: The session's.
        events: Texts of the events, with what is personal beside each.
        head: SHA-256 of the last one.
        now: Milliseconds since the Unix epoch.
    """
    personal = {
        str(seq): orjson.loads(beside)
        for seq, (_, beside) in enumerate(events, start=1)
        if beside is not None
    }
    claims = {
        "session_id": session_id,
        "events": len(events),
        "head": head,
        "personal": digest(canonical(personal)),
        "at": moment(now),
    }
    document = {
        "format": FORMAT,
        "session_id": session_id,
        "events": [orjson.loads(text) for text, _ in events],
        "personal": personal,
        "head": head,
        "signature": signer.sign(claims),
        "jwks": {"keys": [signer.jwk]},
        "thumbprint": signer.thumbprint,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def check(text: str | bytes) -> Checked:
    """Checks a document: its form, every event, every personal value, and the signature.

    Raises:
        Wrong: It is none, or was changed after it was signed.
    """
    try:
        document = forms.read(text)
    except ValueError as error:
        raise Wrong(str(error)) from None
    return verify(document)


def verify(document: Any) -> Checked:
    """Checks that a document holds, also one whose events say what this release does not know.

    Raises:
        Wrong: It was changed after it was signed.
    """
    try:
        session_id, events = document["session_id"], document["events"]
        personal = document["personal"]
        head = _head(session_id, events)
        _require_personal(events, personal)
        (jwk,) = document["jwks"]["keys"]
        claims = signed_claims(document["signature"], jwk)
        forms.require(forms.Claims, claims)
        _require_same("the document's head", document["head"], head)
        _require_same("the signed head", claims["head"], head)
        _require_same("the signed number of events", claims["events"], len(events))
        _require_same("the signed session", claims["session_id"], session_id)
        signed_personal = digest(canonical(personal))
        _require_same("what is personal", claims["personal"], signed_personal)
        _require_same("the thumbprint", document["thumbprint"], thumbprint(jwk))
        _require_same("the key's id", jwk["kid"], thumbprint(jwk))
        return Checked(
            session_id,
            events,
            personal,
            _erased(events, personal),
            head,
            claims["at"],
            document["thumbprint"],
        )
    except Broken as error:
        raise Wrong(str(error)) from None
    except (AttributeError, KeyError, TypeError) as error:
        raise Wrong(f"it is no such document: {type(error).__name__}") from None
    except ValueError as error:
        raise Wrong(str(error)) from None


def _head(session_id: str, events: Sequence[Mapping[str, Any]]) -> str:
    head = digest(session_id)
    for seq, event in enumerate(events, start=1):
        require_next(head, seq, event)
        head = digest(canonical(event))
    return head


def _require_personal(
    events: Sequence[Mapping[str, Any]], personal: Mapping[str, Mapping[str, Any]]
) -> None:
    """Checks that what stands beside an event is what the event commits to."""
    by_seq = {str(event["seq"]): event for event in events}
    for seq, values in personal.items():
        for name, salted in values.items():
            found = by_seq.get(seq, {}).get(f"{name}_sha256")
            if found != commitment(salted["salt"], salted["value"]):
                raise Wrong(f"event {seq!a} does not commit to this {name!a}")


def _erased(
    events: Sequence[Mapping[str, Any]], personal: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Lists what is committed to and is not there any more, as `hint of event 2`."""
    committed = [
        (str(event["seq"]), name.removesuffix("_sha256"))
        for event in events
        for name in sorted(event)
        if name.endswith("_sha256")
    ]
    return [
        f"{name} of event {seq}" for seq, name in committed if name not in personal.get(seq, ())
    ]


def _require_same(what: str, said: object, found: object) -> None:
    if said != found or type(said) is not type(found):
        raise Wrong(f"{what} is not that of the events")
