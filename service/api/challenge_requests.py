"""Reads what callers ask of a challenge: how it is to be proven, by what, and for which payment."""

from __future__ import annotations

import ipaddress

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2

from service.api import fields
from service.api.bad_fields import BadFields
from service.challenges.codes import typed
from service.challenges.destinations import normal_address, normal_phone
from service.challenges.methods import Fallback, Method, Response
from service.challenges.numbers import NumberRules
from service.challenges.verifying import VerifyRequest
from service.errors import InvalidRequest
from service.storage.rows import Payment

_TYPES = {number: name for name, number in challenge_pb2.Challenge.Type.items() if number}


def method(
    request: admin_pb2.IssueChallengeRequest | admin_pb2.Fallback, numbers: NumberRules
) -> Method:
    """Reads how the payer is to satisfy the challenge.

    Raises:
        InvalidRequest: It is not said, or leads nowhere.
    """
    challenge_type = request.WhichOneof("method")
    if challenge_type == "sms":
        return Method(challenge_type, normal_phone(request.sms.phone_number, numbers))
    if challenge_type == "email":
        return Method(challenge_type, normal_address(request.email.address))
    if challenge_type is None:
        raise InvalidRequest("method", "must be given")
    return Method(challenge_type, getattr(request, challenge_type).site_key)


def fallback(request: admin_pb2.IssueChallengeRequest, numbers: NumberRules) -> Fallback | None:
    """Reads what takes the challenge's place, if anything does.

    Raises:
        InvalidRequest: It is not said, or leads nowhere.
    """
    if not request.HasField("fallback"):
        return None
    try:
        other = method(request.fallback, numbers)
    except InvalidRequest as error:
        inner = [(f"fallback.{field}", problem) for field, problem in error.violations]
        raise InvalidRequest.of(inner) from None
    return Fallback(other, request.fallback.allow_weaker)


def payment(
    request: admin_pb2.IssueChallengeRequest
    | admin_pb2.VerifyChallengeRequest
    | admin_pb2.WaiveChallengeRequest,
) -> Payment | None:
    """Reads the payment that a request names, if it names one.

    Raises:
        InvalidRequest: See `fields.payment`.
    """
    return fields.payment(request.payment) if request.HasField("payment") else None


def verify_request(request: admin_pb2.VerifyChallengeRequest) -> VerifyRequest:
    """Reads what a caller asks before a payment. The response is for Verify to judge.

    Raises:
        InvalidRequest: A field is malformed.
    """
    bad = BadFields()
    paid = bad.read(payment, request)
    address = bad.read(_ip_address, request.remote_ip)
    bad.refuse()
    return VerifyRequest(_response(request), paid, request.request_id, address)


def destination(request: admin_pb2.EraseDestinationRequest) -> Method:
    """Reads which destination is to be erased, though it may get no codes any more.

    Raises:
        InvalidRequest: It is malformed.
    """
    if request.HasField("sms"):
        return Method("sms", normal_phone(request.sms.phone_number, None))
    return Method("email", normal_address(request.email.address))


def proof(request: admin_pb2.WaiveChallengeRequest) -> str | None:
    """Reads which proof was made elsewhere, its kind and what finds it; None where none is said."""
    return f"{request.proof_kind} {request.proof_reference}".rstrip() or None


def _response(request: admin_pb2.VerifyChallengeRequest) -> Response | None:
    form = request.WhichOneof("response")
    if form is None:
        return None
    text = typed(request.code) if form == "code" else request.token
    return Response(form, text, _TYPES.get(request.type))


def _ip_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text) if text else None
    except ValueError:
        address = None
    if text and (address is None or getattr(address, "scope_id", None)):  # a zone may be any text
        raise InvalidRequest("remote_ip", "must be an IPv4 or IPv6 address")
    return str(address or "")
