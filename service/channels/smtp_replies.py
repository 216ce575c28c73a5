"""What a reply of SMTP says of a message, and of whom.

The enhanced status code (RFC 3463) tells, where there is one. A bare code does not: 550 to RCPT may
be an unknown mailbox, a relay that does not know us ("relay not permitted"), or a block list. Only
an enhanced code is surely about the recipient.
"""

from __future__ import annotations

import re

from aiosmtplib import SMTPDataError, SMTPRecipientRefused, SMTPResponseException

from service.channels import Blame, Outcome, Result

_STATUS = re.compile(r"[45]\.\d{1,3}\.\d{1,3}\b")
# No such mailbox, system or syntax; ambiguous, moved, no mail there (RFC 7505); disabled.
_BAD_RECIPIENT = re.compile(r"5\.(1\.([12346]|10)|2\.1)")
_MAIL_SYSTEM = re.compile(r"[45]\.3\.([0-35-9]|\d\d+)")  # but 3.4, a message too big
_OUR_ADDRESS = re.compile(r"[45]\.1\.[78]")  # the sender's; often held back until RCPT
_CLOSING = 421
_AUTHENTICATION = (530, 535)


def result_of(error: SMTPResponseException, ended: bool) -> Result:
    """Reads the result from a reply that is not the one hoped for.

    Args:
        error: The reply; its class tells to which command.
        ended: Whether the message's end had been sent.
    """
    found = _STATUS.match(error.message)
    status = found[0] if found else ""
    reason = f"SMTP {error.code} {status}".rstrip()
    if not 400 <= error.code < 600:
        outcome = Outcome.UNKNOWN if ended else Outcome.RETRY
        return Result(outcome, reason="not a reply of SMTP", blames=Blame.PROVIDER)
    blames = _blames(error, status)
    if error.code < 500:
        return Result(Outcome.RETRY, reason=reason, blames=blames)
    about_it = isinstance(error, (SMTPRecipientRefused, SMTPDataError))
    if about_it and _BAD_RECIPIENT.fullmatch(status):
        return Result(Outcome.UNDELIVERABLE, reason=reason, blames=Blame.RECIPIENT)
    return Result(Outcome.REFUSED, reason=reason, blames=blames)


def _blames(error: SMTPResponseException, status: str) -> Blame:
    if error.code in _AUTHENTICATION:
        return Blame.ACCOUNT
    if error.code == _CLOSING or _MAIL_SYSTEM.fullmatch(status) or _OUR_ADDRESS.fullmatch(status):
        return Blame.PROVIDER
    match error:
        case SMTPRecipientRefused():
            return Blame.RECIPIENT
        case SMTPDataError():
            return Blame.MESSAGE
    # Nothing has been said of the message yet.
    return Blame.PROVIDER if error.code < 500 else Blame.ACCOUNT
