"""Messages as email: what SMTP carries between DATA and the final dot."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, quote

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from service.channels import BadDSN, Message
from service.channels.dsn import DSN

# Names may hold spaces and joiners of every script, which are encoded: U+3000, U+200D.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_PLAIN = 60  # with its name a header's line stays below 78


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
    body = EmailMessage(policy=SMTP)
    # Encoded, so that no text can look like SMTP and no server needs 8BITMIME.
    body.set_content(message.text, cte="quoted-printable")
    if message.html:
        body.add_alternative(message.html, subtype="html", cte="quoted-printable")
    written = _header(message, sender, to).encode() + body.as_bytes()
    return re.sub(rb"(?m)^\.", b"..", written)


def _header(message: Message, sender: Address, to: ValidatedEmail) -> str:
    """Writes the header down without `email`, which decodes encoded words in what it is given.

    With them come line breaks and commas (python/cpython#121284, #121650).
    """
    lines = {
        "From": f"{_phrase(sender.display_name)}<{sender.addr_spec}>",
        "To": f"<{to.local_part}@{to.ascii_domain}>",
        "Subject": _unstructured(message.subject or ""),
        "Message-ID": message_id(message, sender),
        "Date": format_datetime(datetime.now(UTC)),
        "Auto-Submitted": "auto-generated",
    }
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items())


def _phrase(name: str) -> str:
    if not name:
        return ""
    return f'"{quote(name)}" ' if _is_plain(name) else f"{_encoded(name)}\r\n "


def _unstructured(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control character in a header")
    return text if _is_plain(text) else _encoded(text)


def _is_plain(text: str) -> bool:
    """Whether a header may hold it as it is: short, and nothing that a reader would decode."""
    return text.isascii() and "=?" not in text and len(text) < _LONGEST_PLAIN


def _encoded(text: str) -> str:
    return Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")
