"""Destinations of codes: normalised on the way in, masked on the way out."""

from __future__ import annotations

import re

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from service.challenges.numbers import NumberRules
from service.errors import InvalidRequest

# libphonenumber reads FLOW as 3569, and drops parameters in silence.
_NO_DIGITS = re.compile(r"[^\W\d_]|[;=]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def normal_phone(text: str, rules: NumberRules | None) -> str:
    """Normalises a phone number to E.164.

    Args:
        text: The number.
        rules: Which numbers get codes; None where none is to be sent.

    Raises:
        InvalidRequest: Not a number of the numbering plans, one with an extension, or one that
            `rules` refuse.
    """
    problem = "must be a phone number in E.164 form, such as +14155550123"
    if not text.startswith("+") or len(text) > 32:
        raise InvalidRequest("sms.phone_number", problem)
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise InvalidRequest("sms.phone_number", problem) from None
    if number.extension:
        raise InvalidRequest("sms.phone_number", "must have no extension: an SMS cannot reach it")
    if _NO_DIGITS.search(text):
        raise InvalidRequest("sms.phone_number", problem)
    if not phonenumbers.is_valid_number(number):
        raise InvalidRequest("sms.phone_number", "is not a number of any numbering plan")
    if rules is not None and (refused := rules.problem(number)):
        raise InvalidRequest("sms.phone_number", refused)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normal_address(text: str) -> str:
    """Normalises an email address; its domain is looked up by no one here.

    Raises:
        InvalidRequest: Not an address by RFC 5321 and 5322, or one with control characters.
    """
    try:
        if _CONTROL.search(text):
            raise EmailNotValidError
        return validate_email(
            text, check_deliverability=False, test_environment=True, strict=True
        ).normalized
    except EmailNotValidError:
        problem = "must be an email address, such as payer@example.com"
        raise InvalidRequest("email.address", problem) from None


def masked_phone(number: str) -> str:
    """Masks all but the last four digits, `--0123`; of a short number, all but half of them."""
    national = phonenumbers.national_significant_number(phonenumbers.parse(number))
    return f"--{national[-min(4, len(national) // 2) :]}"


def masked_address(address: str) -> str:
    """Masks the local part but for its first character: `j--@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[0]}--@{domain}"
