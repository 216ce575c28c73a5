"""The document of an export: what stands in it, and whether it holds, which anybody can check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from service.evidence.chain import Broken, canonical, commitment, digest, moment, require_next
from service.evidence.signing import Signer, signed_claims, thumbprint

FORMAT = "challenge-evidence-1"

_SALT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SESSION_ID = re.compile(r"cs_[A-Za-z0-9]{1,125}", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z", re.ASCII)


class Wrong(Exception):
    """A document that does not hold; the text says why."""


class Checked(NamedTuple):
    """A document that holds.

    Attributes:
        session_id: Of the session that it tells of.
        events: What happened, the oldest first.
        personal: For the number of an event, its salts and values; of one that is erased, none.
        head: SHA-256 of the last event.
        exported_at: When it was signed, RFC 3339.
        thumbprint: Of the key that signed it: compare it with the one that you know.
    """

    session_id: str
    events: Sequence[Mapping[str, Any]]
    personal: Mapping[str, Mapping[str, Any]]
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
    claims = {"session_id": session_id, "events": len(events), "head": head, "at": moment(now)}
    document = {
        "format": FORMAT,
        "session_id": session_id,
        "events": [orjson.loads(text) for text, _ in events],
        "personal": {
            str(seq): orjson.loads(beside)
            for seq, (_, beside) in enumerate(events, start=1)
            if beside is not None
        },
        "head": head,
        "signature": signer.sign(claims),
        "jwks": {"keys": [signer.jwk]},
        "thumbprint": signer.thumbprint,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def check(text: str | bytes) -> Checked:
    """Checks a document: every event, every personal value, and the signature.

    Raises:
        Wrong: It is none, or was changed after it was signed.
    """
    try:
        document = orjson.loads(text)
        if document["format"] != FORMAT:
            raise Wrong(f"it is not of the format {FORMAT}")
        session_id, events = document["session_id"], document["events"]
        if not (_SESSION_ID.fullmatch(session_id) and events):
            raise Wrong("it tells of no session")
        head = _head(session_id, events)
        _require_personal(events, document["personal"])
        (jwk,) = document["jwks"]["keys"]
        claims = signed_claims(document["signature"], jwk)
        _require_same("the document's head", document["head"], head)
        _require_same("the signed head", claims["head"], head)
        _require_same("the signed number of events", claims["events"], len(events))
        _require_same("the signed session", claims["session_id"], session_id)
        if not _MOMENT.fullmatch(claims["at"]):
            raise Wrong("it does not say when it was signed")
        _require_same("the thumbprint", document["thumbprint"], thumbprint(jwk))
        return Checked(
            session_id,
            events,
            document["personal"],
            head,
            str(claims["at"]),
            document["thumbprint"],
        )
    except Broken as error:
        raise Wrong(str(error)) from None
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
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
            if not _SALT.fullmatch(salted["salt"]):  # or a part of the value could move into it
                raise Wrong(f"event {seq} has no salt for {name}")
            found = by_seq.get(seq, {}).get(f"{name}_sha256")
            if found != commitment(salted["salt"], salted["value"]):
                raise Wrong(f"event {seq} does not commit to this {name}")


def _require_same(what: str, said: object, found: object) -> None:
    if said != found or type(said) is not type(found):
        raise Wrong(f"{what} is not that of the events")
