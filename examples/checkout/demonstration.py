"""What a demonstration has and a shop has not: scenarios, widgets' stand-ins, the payer's phone."""

from __future__ import annotations

import itertools
import json
import secrets
from pathlib import Path
from typing import Any

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from examples.checkout import acquirer
from examples.checkout.captchas import HCAPTCHA_SITE_KEY, TURNSTILE_SITE_KEY, Captchas
from examples.checkout.merchant import Merchant, Sale
from examples.checkout.refusals import Refused

IssueChallenge = admin_pb2.IssueChallengeRequest
OTHER_ORIGIN = "https://another-shop.example"

# Numbers that belong to nobody: 555-0100 to 555-0199 of every area.
_PHONES = [  # 555-01xx is for fiction
    f"+1{area}55501{last:02}"
    for area in (*range(201, 211), *range(212, 221))
    for last in range(100)
]
_SENDS_PER_HOUR = 5  # to one phone; the service's quota


class Demonstration:
    """Sets scenarios up at a shop, and stands in for all that a payer has beside the page."""

    def __init__(self, merchant: Merchant, captchas: Captchas, inbox: Path) -> None:
        """Makes one.

        Args:
            merchant: The shop.
            captchas: Makes the tokens of the widgets on the page.
            inbox: Directory of development's inbox, for the phone beside the page.
        """
        self._merchant = merchant
        self._captchas = captchas
        self._inbox = inbox
        # One phone a session, so that none sees another's messages or spends another's quota.
        self._numbers = itertools.count(secrets.randbelow(len(_PHONES)))

    def open(self, scenario: str, origin: str) -> Sale:
        """Opens a session in the state that a scenario starts from.

        Args:
            scenario: One of those that the page offers.
            origin: Where the page is, which the session allows.

        Raises:
            Refused: Unknown scenario.
            ChallengeError: The service refuses.
        """
        phone = admin_pb2.Sms(phone_number=_PHONES[next(self._numbers) % len(_PHONES)])
        mailbox = admin_pb2.Email(address=f"jo.{secrets.token_hex(3)}@example.com")
        hcaptcha = admin_pb2.Captcha(site_key=HCAPTCHA_SITE_KEY)
        turnstile = admin_pb2.Captcha(site_key=TURNSTILE_SITE_KEY)
        # A mailbox proves less than a phone, which the shop has to allow: the code is bound.
        by_mail = admin_pb2.Fallback(email=mailbox, allow_weaker=True)
        by_phone = admin_pb2.Fallback(sms=phone)
        sms, shop = IssueChallenge(sms=phone), self._merchant
        match scenario:
            case "sms":
                return shop.open(origin, IssueChallenge(sms=phone, fallback=by_mail))
            case "email":
                return shop.open(origin, IssueChallenge(email=mailbox))
            case "hcaptcha":
                return shop.open(origin, IssueChallenge(hcaptcha=hcaptcha))
            case "turnstile":
                return shop.open(origin, IssueChallenge(turnstile=turnstile))
            case "fallback":
                return shop.open(origin, IssueChallenge(hcaptcha=hcaptcha, fallback=by_phone))
            case "none":
                return shop.open(origin)
            case "declined":
                return shop.open(origin, sms, card=acquirer.DECLINED)
            case "expired" | "completed":
                sale = shop.open(origin, sms)
                outcome = f"OUTCOME_{scenario.upper()}"
                shop.end(sale, admin_pb2.CloseSessionRequest.Outcome.Value(outcome))
                return sale
            case "exhausted":
                for _ in range(_SENDS_PER_HOUR):
                    shop.send(shop.open(origin, sms))
                # Longer than the quota's hour: who waits for it shall find the session alive.
                return shop.open(origin, sms, life_seconds=2 * 3600)
            case "elsewhere":
                return shop.open(OTHER_ORIGIN, sms)
            case "wallet":
                return shop.open(origin, sms, scope=admin_pb2.OpenSessionRequest.SCOPE_WALLET)
        raise Refused.because(400, "validation_error", "No such scenario.", recoverable=False)

    def solve(self, sale: Sale, origin: str, solved: str) -> str:
        """Makes a token as the widget on the page does, where a provider's would be.

        Raises:
            Refused: The session has no captcha, or there is no such way to solve one.
            ChallengeError: The service refuses.
        """
        challenge = self._merchant.challenge(sale) or {}
        try:
            return self._captchas.solve(challenge.get("type", ""), solved, origin, sale.session_id)
        except KeyError:
            text = "There is no such widget."
            raise Refused.because(400, "validation_error", text, recoverable=False) from None

    def messages(self, recipient: str) -> list[dict[str, Any]]:
        """Reads what has come to a phone or mailbox, the oldest first."""
        if not recipient or not self._inbox.is_dir():
            return []
        kept = (
            json.loads(file.read_text("utf-8")) for file in sorted(self._inbox.glob("[!.]*.json"))
        )
        shown = ("id", "subject", "text", "received_at")
        return [
            {name: message[name] for name in shown}
            for message in kept
            if message["recipient"] == recipient
        ]
