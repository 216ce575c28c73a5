"""Ways to satisfy a challenge, and what the payer responds."""

from __future__ import annotations

from typing import NamedTuple

from service.storage.rows import Payment


class Method(NamedTuple):
    """A way to satisfy a challenge.

    Attributes:
        challenge_type: `sms`, `email`, `hcaptcha` or `turnstile`.
        value: The site key of its widget, or the destination of its code in normal form.
    """

    challenge_type: str
    value: str


class Fallback(NamedTuple):
    """What takes a challenge's place where that leads nowhere.

    Attributes:
        method: Another way, of another type.
        allow_weaker: Whether it may prove less than a challenge that is bound to a payment.
    """

    method: Method
    allow_weaker: bool

    def fits(self, payment: Payment | None) -> bool:
        """Whether it proves enough where the challenge is bound to a payment.

        A mailbox is no out-of-band authenticator (NIST SP 800-63B-4), and a captcha knows nobody.
        """
        return payment is None or self.allow_weaker or self.method.challenge_type == "sms"


class Response(NamedTuple):
    """A payer's response.

    Attributes:
        form: `code` or `token`.
        text: What was typed, as `codes.typed` returns it, or the widget's token.
        challenge_type: Of the challenge that it is to, where the caller says; None for any.
    """

    form: str
    text: str
    challenge_type: str | None = None
