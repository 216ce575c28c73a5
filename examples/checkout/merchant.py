"""The shop's backend: opens payment sessions, and asks before each payment. Over gRPC."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from govifi.challenge.client import ChallengeError, connect
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from examples.checkout import acquirer
from examples.checkout.refusals import Refused, as_json

SHOP = "Example Shop"
PAYMENT = admin_pb2.Payment(amount_minor=8400, currency="EUR", payee=SHOP)
"""What every session here pays. The challenge is bound to it, and messages show it."""
_SECONDS = 10.0  # VerifyChallenge wants 8 or more: a captcha's provider has 5
_PAYMENT_SCOPE = admin_pb2.OpenSessionRequest.SCOPE_PAYMENT


@dataclass
class Sale:
    """A payment session as the shop keeps it.

    Attributes:
        session_id: Its id.
        credential: What the payer's page proves itself with.
        card: What the payer pays with.
        destinations: Where codes go, by challenge type.
        fallback: Type of the challenge that can take the first one's place; empty for none.
        outcome: Why the payment went on, once the card is charged.
        paid_by: The request that it was charged by.
        evidence_key: What the page finds its evidence by, and nobody else.
        lock: Held while it is paid, so that two confirms at once charge once.
    """

    session_id: str
    credential: str
    card: str
    destinations: Mapping[str, str]
    fallback: str
    outcome: str = ""
    paid_by: str = ""
    evidence_key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Merchant:
    """The shop. Its sales live as long as the process."""

    def __init__(self, target: str, token: Callable[[], str]) -> None:
        """Makes one.

        Args:
            target: `host:port` of the service's internal API.
            token: Makes a token for it.
        """
        self._channel = grpc.insecure_channel(target)
        self._admin = connect(self._channel, token, _SECONDS)
        self._public = challenge_pb2_grpc.ChallengeServiceStub(self._channel)
        self._sales: dict[str, Sale] = {}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def open(
        self,
        origin: str,
        challenge: admin_pb2.IssueChallengeRequest | None = None,
        *,
        card: str = acquirer.ACCEPTED,
        scope: admin_pb2.OpenSessionRequest.Scope.ValueType = _PAYMENT_SCOPE,
        life_seconds: int = 30 * 60,
    ) -> Sale:
        """Opens a session, and issues a challenge for it.

        Args:
            origin: Of the payer's page, which the session allows.
            challenge: What the payer has to prove; None for nothing.
            card: What the payer pays with.
            scope: What the page's credential may be used for.
            life_seconds: Until the session expires.

        Raises:
            ChallengeError: The service refuses.
        """
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
            # Without a challenge that was issued, no payment goes on.
            challenge_expected=challenge is not None,
        )
        self._admin.OpenSession(request)
        destinations, fallback = {}, ""
        if challenge is not None:
            self._issue(session_id, challenge)
            fallback = challenge.fallback.WhichOneof("method") or ""
            destinations = {
                "sms": challenge.sms.phone_number or challenge.fallback.sms.phone_number,
                "email": challenge.email.address or challenge.fallback.email.address,
            }
        sale = Sale(session_id, credential, card, destinations, fallback)
        self._sales[session_id] = sale
        return sale

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

    def shown(self, sale: Sale) -> dict[str, Any]:
        """Returns what the payer's page may know of a sale.

        Raises:
            ChallengeError: The service refuses.
        """
        challenge = self.challenge(sale)
        is_left = challenge is not None and challenge["type"] != sale.fallback
        return {
            "challenge": challenge,
            "other_way": sale.fallback if is_left else "",
            "card": sale.card[-4:],
            "outcome": sale.outcome,
            "evidence": f"/evidence/{sale.evidence_key}",
        }

    def evidence(self, key: str) -> str:
        """Exports what has happened in a sale's session, signed.

        Args:
            key: The sale's `evidence_key`.

        Raises:
            Refused: There is no such sale.
            ChallengeError: The service refuses.
        """
        for sale in self._sales.values():
            if hmac.compare_digest(sale.evidence_key.encode(), key.encode()):
                request = admin_pb2.ExportEvidenceRequest(session_id=sale.session_id)
                document: str = self._admin.ExportEvidence(request).document
                return document
        text = "There is no such evidence."
        raise Refused.because(404, "validation_error", text, recoverable=False)

    def challenge(self, sale: Sale) -> dict[str, Any] | None:
        """Returns what the payer has to do, None for nothing.

        Raises:
            ChallengeError: The service refuses.
        """
        request = admin_pb2.GetChallengeRequest(session_id=sale.session_id)
        return _challenge_in(self._admin.GetChallenge(request))

    def use_fallback(self, sale: Sale) -> dict[str, Any] | None:
        """Switches to the other way of proving it, because the payer asks for that.

        Returns:
            What the payer has to do now, None for nothing.

        Raises:
            ChallengeError: There is no other way, or none now.
        """
        request = admin_pb2.UseFallbackRequest(session_id=sale.session_id)
        return _challenge_in(self._admin.UseFallback(request))

    def pay(self, sale: Sale, request_id: str, card: str = "", **response: str) -> str:
        """Asks whether the payment may go on, then charges the card and completes the session.

        Args:
            sale: What is paid.
            request_id: By which a repeat is known: it counts nothing, and charges nothing.
            card: Another card than the sale's; empty for the same.
            **response: The payer's `code` or `token`, if there is one, the `type` of challenge that
                it answers, and the payer's `remote_ip`.

        Returns:
            Why it may.

        Raises:
            ChallengeError: It may not.
            Refused: The card is declined.
        """
        card = card or sale.card
        _require_card(card)
        request = _verify_request(sale, request_id, response)
        with sale.lock:
            if not (sale.outcome and sale.paid_by == request_id):
                answer = self._admin.VerifyChallenge(request)
                outcome = admin_pb2.VerifyChallengeResponse.Outcome.Name(answer.outcome)
                sale.card = card
                _charge(card, outcome)
                sale.outcome, sale.paid_by = outcome, request_id
            self.end(sale, admin_pb2.CloseSessionRequest.OUTCOME_COMPLETED)
        return sale.outcome

    def end(self, sale: Sale, outcome: admin_pb2.CloseSessionRequest.Outcome.ValueType) -> None:
        """Ends a session.

        Raises:
            ChallengeError: The service refuses.
        """
        request = admin_pb2.CloseSessionRequest(session_id=sale.session_id, outcome=outcome)
        self._admin.CloseSession(request)

    def send(self, sale: Sale) -> None:
        """Has the code sent, as the payer's page would, only that no browser takes part.

        Raises:
            ChallengeError: The service refuses.
        """
        request = challenge_pb2.SendRequest(session_id=sale.session_id)
        metadata = (("authorization", f"Bearer {sale.credential}"),)
        try:
            self._public.Send(request, timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            raise ChallengeError(error) from None

    def _issue(self, session_id: str, challenge: admin_pb2.IssueChallengeRequest) -> None:
        is_code = challenge.WhichOneof("method") in ("sms", "email")
        issue = admin_pb2.IssueChallengeRequest(
            session_id=session_id, payment=PAYMENT if is_code else None
        )
        issue.MergeFrom(challenge)
        self._admin.IssueChallenge(issue)
        if not is_code:  # a captcha binds nothing; the code that may take its place does
            mask = FieldMask(paths=["payment"])
            update = admin_pb2.UpdateSessionRequest(
                session_id=session_id, payment=PAYMENT, update_mask=mask
            )
            self._admin.UpdateSession(update)


def _challenge_in(answer: Any) -> dict[str, Any] | None:
    return as_json(answer.challenge) if answer.HasField("challenge") else None


def _verify_request(
    sale: Sale, request_id: str, response: dict[str, Any]
) -> admin_pb2.VerifyChallengeRequest:
    try:
        return admin_pb2.VerifyChallengeRequest(
            session_id=sale.session_id, payment=PAYMENT, request_id=request_id, **response
        )
    except ValueError:  # no such type of challenge, or no text
        text = "The request is malformed."
        raise Refused.because(422, "validation_error", text, recoverable=False) from None


def _require_card(number: str) -> None:
    if not acquirer.is_card(number):
        text = "That is no card number. Check it and try again."
        raise Refused.because(422, "validation_error", text, recoverable=True)


def _charge(card: str, outcome: str) -> None:
    try:
        acquirer.charge(card)
    except acquirer.CardDeclined:
        text = "The bank declined this card. Use another one."
        refused = Refused.because(402, "card_declined", text, recoverable=True)
        refused.body["outcome"] = outcome  # the payment might have gone on
        raise refused from None
