"""Reads what callers ask of a challenge: how it is to be proven, by what, and for which payment."""

from __future__ import annotations

import ipaddress
import re

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.api import fields
from service.api.bad_fields import BadFields
from service.challenges.codes import typed
from service.challenges.destinations import normal_address, normal_phone
from service.challenges.judging import Response
from service.challenges.methods import CAPTCHAS, Fallback, Method
from service.challenges.numbers import NumberRules
from service.challenges.verifying import Question
from service.errors import InvalidRequest
from service.storage.rows import Payment

_SITE_KEY = re.compile(r"[!-~]{1,128}", re.ASCII)
_PROOF_KIND = re.compile(r"[a-z0-9_-]{0,32}", re.ASCII)
_PROOF_REFERENCE = re.compile(r"[ -~]{0,128}", re.ASCII)


def method(
    request: admin_pb2.IssueChallengeRequest | admin_pb2.Fallback, numbers: NumberRules
) -> Method:
    """Reads how the payer is to prove it.

    Raises:
        InvalidRequest: It is not said, or is malformed.
    """
    kind = request.WhichOneof("method")
    if kind == "sms":
        return Method(kind, normal_phone(request.sms.phone_number, numbers))
    if kind == "email":
        return Method(kind, normal_address(request.email.address))
    if kind not in CAPTCHAS:
        raise InvalidRequest("method", "must be hcaptcha, turnstile, sms or email")
    return Method(kind, site_key(getattr(request, kind), kind))


def fallback(request: admin_pb2.IssueChallengeRequest, numbers: NumberRules) -> Fallback | None:
    """Reads what takes the challenge's place, if anything does.

    Raises:
        InvalidRequest: It is malformed, or of the challenge's own type.
    """
    if not request.HasField("fallback"):
        return None
    try:
        other = method(request.fallback, numbers)
    except InvalidRequest as error:
        inner = [(f"fallback.{field}", problem) for field, problem in error.violations]
        raise InvalidRequest.of(inner) from None
    if other.kind == request.WhichOneof("method"):
        raise InvalidRequest("fallback.method", "must be of another type than the challenge")
    return Fallback(other, request.fallback.allow_weaker)


def bound_payment(request: admin_pb2.IssueChallengeRequest) -> Payment | None:
    """Reads the payment that a code is to be bound to, if there is one.

    Raises:
        InvalidRequest: A field of it is malformed, or the challenge is a captcha.
    """
    bad = BadFields()
    given = bad.read(payment, request)
    free = not request.HasField("payment") or request.WhichOneof("method") not in CAPTCHAS
    bad.require(free, "payment", "binds codes only: issue sms or email")
    bad.refuse()
    return given


def payment(
    request: admin_pb2.IssueChallengeRequest
    | admin_pb2.VerifyChallengeRequest
    | admin_pb2.WaiveChallengeRequest,
) -> Payment | None:
    """Reads the payment that a request names, if it names one.

    Raises:
        InvalidRequest: A field of it is malformed.
    """
    return fields.payment(request.payment) if request.HasField("payment") else None


def site_key(captcha: admin_pb2.Captcha, field: str) -> str:
    """Reads a captcha's public key.

    Raises:
        InvalidRequest: It is not 1 to 128 printable ASCII characters.
    """
    if not _SITE_KEY.fullmatch(captcha.site_key):
        raise InvalidRequest(f"{field}.site_key", "must be 1 to 128 printable ASCII characters")
    return captcha.site_key


def question(request: admin_pb2.VerifyChallengeRequest) -> Question:
    """Reads what a caller asks before a payment. The response is for Verify to judge.

    Raises:
        InvalidRequest: A field is malformed.
    """
    bad = BadFields()
    paid = bad.read(payment, request)
    repeat = bad.read(fields.request_id, request.request_id)
    known = request.type in challenge_pb2.Challenge.Type.values()
    bad.require(known, "type", "is not known")
    address = bad.read(_ip_address, request.remote_ip)
    bad.refuse()
    return Question(_response(request), paid, repeat, address)


def erased(request: admin_pb2.EraseDestinationRequest) -> Method:
    """Reads which destination is to be erased, though it may get no codes any more.

    Raises:
        InvalidRequest: None is, or it is malformed.
    """
    kind = request.WhichOneof("destination")
    if kind == "sms":
        return Method(kind, normal_phone(request.sms.phone_number, None))
    if kind == "email":
        return Method(kind, normal_address(request.email.address))
    raise InvalidRequest("destination", "must be sms or email")


def proof(request: admin_pb2.WaiveChallengeRequest) -> str | None:
    """Reads which proof was made elsewhere: its kind, then what finds it; None where none is said.

    Raises:
        InvalidRequest: One of them is malformed.
    """
    bad = BadFields()
    kind, reference = request.proof_kind, request.proof_reference
    known = _PROOF_KIND.fullmatch(kind) and (kind or not reference)
    bad.require(known, "proof_kind", "must be at most 32 characters of a-z0-9_-, such as 3ds")
    printable = _PROOF_REFERENCE.fullmatch(reference)
    bad.require(printable, "proof_reference", "must be at most 128 printable ASCII characters")
    bad.refuse()
    return f"{kind} {reference}".rstrip() or None


def _response(request: admin_pb2.VerifyChallengeRequest) -> Response | None:
    kind = request.WhichOneof("response")
    if kind is None:
        return None
    named = challenge_pb2.Challenge.Type.Name(request.type) if request.type else kind
    return Response(named, typed(request.code) if kind == "code" else request.token)


def _ip_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text) if text else None
    except ValueError:
        address = None
    if text and (address is None or getattr(address, "scope_id", None)):  # a zone may be any text
        raise InvalidRequest("remote_ip", "must be an IPv4 or IPv6 address")
    return str(address or "")
