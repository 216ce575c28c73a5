"""What a provider may be given as a destination.

Destinations were normalised on their way in. This check is for a poisoned row: a destination that
fails it is never written to a wire, so it can smuggle nothing.
"""

from __future__ import annotations

import re

from email_validator import ValidatedEmail, validate_email

from service.channels import Message

_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
_LONGEST_ADDRESS = 254  # a megabyte takes a second to parse


def is_fit(message: Message) -> bool:
    """Whether it goes to one phone number in E.164 form or, an email, to one address."""
    if message.subject is None:
        return _PHONE.fullmatch(message.recipient) is not None
    try:
        parse(message.recipient)
    except ValueError:
        return False
    return True


def parse(address: str) -> ValidatedEmail:
    """Parses an email address.

    Raises:
        ValueError: It is not one, or not just one; or part of it could be decoded on its way (RFC
            2047), and then be something else.
    """
    if len(address) > _LONGEST_ADDRESS or "=?" in address:
        raise ValueError("not an address")
    return validate_email(address, check_deliverability=False, test_environment=True)
