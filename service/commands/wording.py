"""What each event of the evidence is called on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.challenges.currencies import minor_units
from service.evidence.events import FallbackReason

_TYPES = {
    "sms": "a code by SMS", "email": "a code by email",
    "hcaptcha": "an hCaptcha widget", "turnstile": "a Turnstile widget",
}  # fmt: skip
_ENDS = {"completed": "The payment is complete", "expired": "The merchant gave the session up"}
_DISPATCHES = {
    "queued": "It is tried again.", "dead": "It is not tried again.",
    "expired": "Its time had run out.",
}  # fmt: skip
_FALLBACKS = {
    FallbackReason.REFUSED: "In place of the way before, whose destination is refused",
    FallbackReason.DEAD: "In place of the way before, by which nothing could be sent",
    FallbackReason.OUTAGE: "In place of the captcha before, whose provider was down",
    FallbackReason.PAYER: "In place of the way before, for the payer asked for another",
}
_ERASED = "erased"
When = Callable[[str], str]
"""Writes a time of an event for the page's reader."""


class Told(NamedTuple):
    """An event in words.

    Attributes:
        title: What happened.
        details: Lines below it.
        mark: How it is marked, `good`, `bad` or `plain`.
    """

    title: str
    details: Sequence[str] = ()
    mark: str = "plain"


def amount(payment: Mapping[str, Any]) -> str:
    """Writes a payment: `EUR 19.99 to Acme`."""
    minor, currency = payment["amount_minor"], payment["currency"]
    try:
        digits = minor_units(currency)
    except ValueError:
        digits = 0
    whole, rest = divmod(minor, 10**digits)
    shown = f"{whole:,}" + (f".{rest:0{digits}}" if digits else "")
    return f"{currency} {shown} to {payment['payee']}"


def proven(events: Sequence[Mapping[str, Any]], when: When) -> str:
    """Says in a sentence what the payer has proven."""
    proofs = [event for event in events if event.get("verdict") == "right"]
    if proofs:
        return f"The payer met the challenge: the right response came at {when(proofs[-1]['at'])}."
    if any(event["event"] == "waived" for event in events):
        return "The challenge was waived: the payer was not asked to meet it."
    if any(event["event"] == "challenged" for event in events):
        return "The payer did not meet the challenge."
    return "No challenge was issued."


def told(event: Mapping[str, Any], personal: Mapping[str, Mapping[str, str]], when: When) -> Told:
    """Puts an event in words."""
    one = _WORDS[event["event"]](event, personal, when)
    details = [*one.details]
    if "payment" in event:
        details.append(f"Payment: {amount(event['payment'])}")
    if "remote_ip_sha256" in event:
        details.append(f"Address of the payer: {_value(personal, 'remote_ip')}")
    return one._replace(details=details)


def _value(personal: Mapping[str, Mapping[str, str]], name: str) -> str:
    return personal[name]["value"] if name in personal else _ERASED


def _opened(event: Mapping[str, Any], _: Any, when: When) -> Told:
    return Told("The session was opened", [f"It ends at {when(event['expires_at'])}."])


def _challenged(event: Mapping[str, Any], personal: Any, _: When) -> Told:
    way = _TYPES.get(event["type"], event["type"])
    details = [_FALLBACKS[event["fallback"]]] if event.get("fallback") in _FALLBACKS else []
    if "hint_sha256" in event:
        details.append(f"Destination: {_value(personal, 'hint')}")
    if "site_key" in event:
        details.append(f"Site key: {event['site_key']}")
    return Told(f"The payer was challenged with {way}", details)


def _tried(event: Mapping[str, Any], _: Any, when: When) -> Told:
    details = [f"Asked for at {when(event['claimed_at'])}"]
    if "page_origin" in event:
        details[0] += f" by the page {event['page_origin']}"
    if "message_id" in event:
        details.append(f"The provider's id: {event['message_id']}")
    by = event.get("channel", "The service")
    if event["dispatch"] == "sent":
        details.append(f"The code was valid until {when(event['code_expires_at'])}")
        return Told(f"{by} took the message with the code", details, "good")
    details.append(_DISPATCHES.get(event["dispatch"], event["dispatch"]))
    reason = event.get("reason") or event.get("outcome", "no reason was given")
    return Told(f"{by} did not send the code: {reason}", details, "bad")


def _answered(event: Mapping[str, Any], _: Any, when: When) -> Told:
    if event["verdict"] == "right":
        details = [f"It lets payments go on until {when(event['until'])}"]
        return Told("The payer's response was right", details, "good")
    details = [
        f"Wrong responses: {event['wrong_code']} in a row, {event['wrong_total']} in the session"
    ]
    if "reason" in event:
        details.append(f"The provider's reason: {event['reason']}")
    return Told("The payer's response was wrong", details, "bad")


def _confirmed(event: Mapping[str, Any], *_: Any) -> Told:
    details = [f"It lets {event['confirms_left']} more go on"]
    return Told("A payment went on by the proof before", details, "good")


def _updated(event: Mapping[str, Any], _: Any, when: When) -> Told:
    details = []
    if "expires_at" in event:
        details.append(f"It ends at {when(event['expires_at'])}")
    if "allowed_origins" in event:
        details.append(f"Pages: {', '.join(event['allowed_origins'])}")
    if "merchant" in event:
        details.append(f"Merchant: {event['merchant']}")
    if "voids" in event:
        details.append("What was sent or proven before is void: it was for another payment")
    return Told("The merchant changed the session", details)


def _waived(event: Mapping[str, Any], *_: Any) -> Told:
    details = [f"By: {event['by']}"]
    if "proof" in event:
        details.append(f"For a proof made elsewhere: {event['proof']}")
    return Told("The challenge was waived", details)


def _closed(event: Mapping[str, Any], *_: Any) -> Told:
    return Told(_ENDS.get(event["state"], event["state"]))


def _erased(event: Mapping[str, Any], *_: Any) -> Told:
    of = " of the fallback" if "fallback" in event else ""
    return Told(f"The destination{of} was erased")


_WORDS: Mapping[str, Callable[..., Told]] = {
    "opened": _opened, "challenged": _challenged, "tried": _tried, "answered": _answered,
    "confirmed": _confirmed, "updated": _updated, "waived": _waived,
    "closed": _closed, "erased": _erased,
}  # fmt: skip
