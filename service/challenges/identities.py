"""The identity of a destination: one for all spellings that reach the same mailbox or phone.

Quotas know destinations by it; the message goes where it was said. Where two people were taken for
one, they would share quotas; where one is taken for many, a stranger can flood him.
"""

from __future__ import annotations

from typing import NamedTuple

import phonenumbers


class _Mailboxes(NamedTuple):
    """What a mail provider publishes of its addresses.

    Attributes:
        domain: One of those that mean the same mailbox.
        ignored: Characters of the local part that mean nothing.
    """

    domain: str
    ignored: str = ""


# Google: "Dots don't matter in Gmail addresses", support.google.com/mail/answer/7436150.
_GOOGLE = _Mailboxes("gmail.com", ".")
# Apple: "About your @icloud.com, @me.com, and @mac.com email addresses", support.apple.com.
_APPLE = _Mailboxes("icloud.com")
# Proton: proton.me/support/addresses-and-aliases; what it ignores, in its own web client.
_PROTON = _Mailboxes("proton.me", "._-")
_PUBLISHED = {
    "gmail.com": _GOOGLE,
    "googlemail.com": _GOOGLE,
    "icloud.com": _APPLE,
    "me.com": _APPLE,
    "mac.com": _APPLE,
    "proton.me": _PROTON,
    "protonmail.com": _PROTON,
    "protonmail.ch": _PROTON,
    "pm.me": _PROTON,
}
# Anything at NAME.fastmail.com reaches NAME: fastmail.help, "Plus addressing and subdomain
# addressing".
_BY_SUBDOMAIN = ("fastmail.com", "fastmail.fm")


def identity(challenge_type: str, destination: str) -> str:
    """Returns whose a destination in its normal form is.

    Args:
        challenge_type: `sms` or `email`.
        destination: See `destinations.normal_phone` and `normal_address`.
    """
    return _phone(destination) if challenge_type == "sms" else _mailbox(destination)


def _phone(number: str) -> str:
    """Leaves out the digit that marks mobile numbers in Argentina: both ways reach one phone."""
    parsed = phonenumbers.parse(number)
    national = phonenumbers.national_significant_number(parsed)
    code = parsed.country_code
    assert code is not None  # every number in normal form has one
    return f"+{code}{national.removeprefix(phonenumbers.country_mobile_token(code))}"


def _mailbox(address: str) -> str:
    """Leaves out case, `+tag` everywhere, and what the provider ignores.

    The tag everywhere: the domains that Google and Microsoft host take tags too, and whose they are
    is not to be seen from the address.
    """
    local, _, domain = address.rpartition("@")
    name, _, parent = domain.partition(".")
    if parent in _BY_SUBDOMAIN:
        local, domain = name, parent
    local = local.casefold()
    local = local.partition("+")[0] or local  # +14155550123@… is a name, not a tag
    provider = _PUBLISHED.get(domain, _Mailboxes(domain))
    local = local.translate(dict.fromkeys(map(ord, provider.ignored))) or local
    return f"{local}@{provider.domain}"
