"""The shop's backend: opens payment sessions, checks what payers answer. Over gRPC, as any shop."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc, error_pb2
from grpc_status import rpc_status

from examples.checkout.captchas import HCAPTCHA_SITE_KEY, TURNSTILE_SITE_KEY, Captchas

IssueChallenge = admin_pb2.IssueChallengeRequest

SHOP = "Example Shop"
PAYMENT = admin_pb2.Payment(amount_minor=8400, currency="EUR", payee=SHOP)
"""What every session here pays. The code is bound to it, and the message shows it."""
OTHER_ORIGIN = "https://another-shop.example"

# Numbers that belong to nobody: 555-0100 to 555-0199 of every area.
_PHONES = [  # 555-01xx is for fiction
    f"+1{area}55501{last:02}"
    for area in (*range(201, 211), *range(212, 221))
    for last in range(100)
]
_SENDS_PER_HOUR = 5  # to one phone; the service's quota
_SECONDS = 10.0
_PAYMENT_SCOPE = admin_pb2.OpenSessionRequest.SCOPE_PAYMENT
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Refused(Exception):
    """What the page asked for is refused.

    Attributes:
        status: HTTP status of the answer.
        body: The Error object, with `attempts_remaining` where the service tells it.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["code"])
        self.status = status
        self.body = body

    @classmethod
    def because(cls, status: int, code: str, message: str, *, recoverable: bool) -> Refused:
        """Makes a refusal of the shop's own, in the form of the service's."""
        body = {"code": code, "message": message, "recoverable": recoverable}
        return cls(status, {**body, "request_id": uuid.uuid4().hex})


class Sale(NamedTuple):
    """A payment session as the shop keeps it.

    Attributes:
        session_id: Its id.
        credential: What the payer's page proves itself with.
        destination: Where codes go; empty when none do.
    """

    session_id: str
    credential: str
    destination: str


class Merchant:
    """The shop. Its sales live as long as the process."""

    def __init__(
        self, target: str, token: Callable[[], str], inbox: Path, captchas: Captchas
    ) -> None:
        """Makes one.

        Args:
            target: `host:port` of the service's internal API.
            token: Makes a token for it.
            inbox: Directory of development's inbox, for the phone beside the page.
            captchas: Makes the tokens of the widgets on the page.
        """
        self._channel = grpc.insecure_channel(target)
        self._admin = admin_grpc.ChallengeAdminServiceStub(self._channel)
        self._public = challenge_pb2_grpc.ChallengeServiceStub(self._channel)
        self._token = token
        self._inbox = inbox
        self._captchas = captchas
        self._sales: dict[str, Sale] = {}
        # One phone a session, so that none sees another's messages or spends another's quota.
        self._numbers = itertools.count(secrets.randbelow(len(_PHONES)))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def open(self, scenario: str, origin: str) -> Sale:
        """Opens a session in the state that a scenario starts from.

        Args:
            scenario: One of those that the page offers.
            origin: Where the page is, which the session allows.

        Raises:
            Refused: Unknown scenario, or the service refuses.
        """
        phone = _PHONES[next(self._numbers) % len(_PHONES)]
        sms = IssueChallenge(sms=admin_pb2.Sms(phone_number=phone))
        match scenario:
            case "sms":
                return self._open(origin, sms)
            case "email":
                address = admin_pb2.Email(address=f"jo.{secrets.token_hex(3)}@example.com")
                return self._open(origin, IssueChallenge(email=address))
            case "hcaptcha":
                captcha = admin_pb2.Captcha(site_key=HCAPTCHA_SITE_KEY)
                return self._open(origin, IssueChallenge(hcaptcha=captcha))
            case "turnstile":
                captcha = admin_pb2.Captcha(site_key=TURNSTILE_SITE_KEY)
                return self._open(origin, IssueChallenge(turnstile=captcha))
            case "none":
                return self._open(origin)
            case "expired" | "completed":
                sale = self._open(origin, sms)
                self._end(sale, scenario)
                return sale
            case "exhausted":
                for _ in range(_SENDS_PER_HOUR):
                    self._send(self._open(origin, sms))
                # Longer than the quota's hour: who waits for it shall find the session alive.
                return self._open(origin, sms, life_seconds=2 * 3600)
            case "elsewhere":
                return self._open(OTHER_ORIGIN, sms)
            case "wallet":
                return self._open(origin, sms, scope=admin_pb2.OpenSessionRequest.SCOPE_WALLET)
        raise Refused.because(400, "validation_error", "No such scenario.", recoverable=False)

    def sale_of(self, credential: str) -> Sale:
        """Finds the sale that a page may speak for.

        Raises:
            Refused: None.
        """
        sale = self._sales.get(credential.partition("_secret_")[0])
        if sale is None or not hmac.compare_digest(sale.credential.encode(), credential.encode()):
            text = "The shop does not know this session. Start again."
            raise Refused.because(404, "session_expired", text, recoverable=False)
        return sale

    def challenge(self, sale: Sale) -> dict[str, Any] | None:
        """Returns what the payer has to do, None for nothing.

        Raises:
            Refused: The service refuses.
        """
        request = admin_pb2.GetChallengeRequest(session_id=sale.session_id)
        answer = self._call("GetChallenge", request)
        if not answer.HasField("challenge"):
            return None
        challenge: dict[str, Any] = MessageToDict(
            answer.challenge, preserving_proto_field_name=True
        )
        return challenge

    def verify(self, sale: Sale, **response: str) -> str:
        """Checks the payer's `code` or `token`.

        Returns:
            When the challenge was satisfied: by this very call.

        Raises:
            Refused: It is not.
        """
        # A captcha is not bound to the payment, and the service refuses one that says it is.
        payment = PAYMENT if "code" in response else None
        request = admin_pb2.VerifyChallengeRequest(
            session_id=sale.session_id, payment=payment, **response
        )
        at: str = self._call("VerifyChallenge", request).satisfy_time.ToJsonString()
        return at

    def solve(self, sale: Sale, origin: str, solved: str) -> str:
        """Makes a token as the widget on the page does, where a provider's would be.

        Raises:
            Refused: The session has no captcha, or there is no such way to solve one.
        """
        challenge = self.challenge(sale) or {}
        try:
            return self._captchas.solve(challenge.get("type", ""), solved, origin, sale.session_id)
        except KeyError:
            text = "There is no such widget."
            raise Refused.because(400, "validation_error", text, recoverable=False) from None

    def messages(self, sale: Sale) -> list[dict[str, Any]]:
        """Reads what has come to the sale's phone or mailbox, the oldest first."""
        if not sale.destination or not self._inbox.is_dir():
            return []
        kept = (
            json.loads(file.read_text("utf-8")) for file in sorted(self._inbox.glob("[!.]*.json"))
        )
        shown = ("id", "subject", "text", "received_at")
        return [
            {name: message[name] for name in shown}
            for message in kept
            if message["recipient"] == sale.destination
        ]

    def _open(
        self,
        origin: str,
        challenge: IssueChallenge | None = None,
        *,
        scope: admin_pb2.OpenSessionRequest.Scope.ValueType = _PAYMENT_SCOPE,
        life_seconds: int = 30 * 60,
    ) -> Sale:
        session_id = f"cs_{secrets.token_hex(12)}"
        credential = f"{session_id}_secret_{secrets.token_urlsafe(24)}"
        request = admin_pb2.OpenSessionRequest(
            session_id=session_id,
            account_uid="acct_dev",
            client_secret_sha256=hashlib.sha256(credential.encode()).digest(),
            scope=scope,
            allowed_origins=[origin],
            expires_in=Duration(seconds=life_seconds),
            locale="en",
            merchant_display_name=SHOP,
        )
        self._call("OpenSession", request)
        destination = ""
        if challenge is not None:
            issue = IssueChallenge(session_id=session_id)
            issue.MergeFrom(challenge)
            destination = issue.sms.phone_number or issue.email.address
            if destination:
                issue.payment.CopyFrom(PAYMENT)
            self._call("IssueChallenge", issue)
        sale = Sale(session_id, credential, destination)
        self._sales[session_id] = sale
        return sale

    def _end(self, sale: Sale, outcome: str) -> None:
        ended = admin_pb2.CloseSessionRequest.Outcome.Value(f"OUTCOME_{outcome.upper()}")
        request = admin_pb2.CloseSessionRequest(session_id=sale.session_id, outcome=ended)
        self._call("CloseSession", request)

    def _send(self, sale: Sale) -> None:
        # As the payer's page would, only that no browser takes part.
        request = challenge_pb2.SendRequest(session_id=sale.session_id)
        self._invoke(self._public.Send, request, sale.credential)

    def _call(self, rpc: str, request: Any) -> Any:
        return self._invoke(getattr(self._admin, rpc), request, self._token())

    def _invoke(self, call: Callable[..., Any], request: Any, bearer: str) -> Any:
        metadata = (("authorization", f"Bearer {bearer}"),)
        try:
            return call(request, timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            raise _refusal(error) from None


def _refusal(error: Any) -> Refused:
    """Passes on what the service says in the details of its status."""
    status = rpc_status.from_call(error)
    told, info = error_pb2.Error(), error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        detail.Unpack(told)
        detail.Unpack(info)
    if not told.code:  # not the service's own words: it cannot be reached
        text = "Please try again in a moment."
        return Refused.because(503, "network_error", text, recoverable=True)
    body: dict[str, Any] = {
        "code": error_pb2.Error.Code.Name(told.code),
        "message": told.message,
        "recoverable": told.recoverable,
        "request_id": told.request_id,
    }
    if "attempts_remaining" in info.metadata:
        body["attempts_remaining"] = int(info.metadata["attempts_remaining"])
    return Refused(_HTTP.get(error.code(), 502), body)
