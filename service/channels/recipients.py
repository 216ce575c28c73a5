"""What a provider may be given as a destination.

Destinations were normalised on their way in. This check is for a poisoned row: a destination that
fails it is never written to a wire, so it can smuggle nothing.
"""

from __future__ import annotations

import re

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from service.channels import Blame, Outcome, Verdict

UNFIT = Outcome(
    Verdict.UNDELIVERABLE,
    reason="not a destination that this channel can reach",
    blames=Blame.RECIPIENT,
)

_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
_LONGEST_ADDRESS = 254  # a megabyte takes a second to parse


def is_phone(recipient: str) -> bool:
    """Whether it is a phone number in E.164 form."""
    return _PHONE.fullmatch(recipient) is not None


def mailbox(recipient: str) -> ValidatedEmail | None:
    """Parses an email address; None when it is not one, or not just one."""
    if len(recipient) > _LONGEST_ADDRESS:
        return None
    try:
        return validate_email(recipient, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None
