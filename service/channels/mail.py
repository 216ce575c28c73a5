"""Messages as email: what SMTP carries between DATA and the final dot."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from service.channels import BadDSN, Message
from service.channels.dsn import DSN


def sender(dsn: DSN) -> Address:
    """Reads who emails are from, `Shop <shop@example.com>`, in a DSN.

    Raises:
        BadDSN: It is no address in ASCII.
    """
    name, _, address = dsn.values["from"].removesuffix(">").rpartition("<")
    try:
        found = validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        found = None
    if found is None or found.ascii_email is None:
        raise BadDSN(f"{dsn.name}: from is no address in ASCII, such as Shop <shop@example.com>")
    return Address(name.strip(' "'), found.local_part, found.ascii_domain)


def message_id(message: Message, sender: Address) -> str:
    """Derives the Message-ID, which stays the same over every try."""
    return f"<{message.id}@{sender.domain}>"


def compose(message: Message, sender: Address, to: ValidatedEmail) -> bytes:
    """Writes a message down, its dots doubled where SMTP wants it.

    Raises:
        ValueError: The subject holds what a header cannot.
    """
    subject = message.subject or ""
    if not subject.isprintable():
        raise ValueError("control character in the subject")
    mail = EmailMessage(policy=SMTP if to.ascii_email else SMTPUTF8)
    mail["From"] = sender
    mail["To"] = Address("", to.local_part, to.ascii_domain)
    mail["Subject"] = subject
    mail["Message-ID"] = message_id(message, sender)
    mail["Date"] = datetime.now(UTC)
    mail["Auto-Submitted"] = "auto-generated"
    # Encoded, so that no text can look like SMTP and no server needs 8BITMIME.
    mail.set_content(message.text, cte="quoted-printable")
    if message.html:
        mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    return re.sub(rb"(?m)^\.", b"..", mail.as_bytes())
