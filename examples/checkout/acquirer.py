"""A stand-in for the acquirer, which charges cards.

A real one keeps card numbers from the shop: its own field on the page turns them into tokens.
"""

from __future__ import annotations

ACCEPTED, DECLINED = "4242424242424242", "4000000000000002"  # numbers for tests, nobody's cards


class CardDeclined(Exception):
    """The bank that issued the card does not pay."""


def is_card(number: str) -> bool:
    """Whether it has the form of a card's number."""
    return number.isascii() and number.isdigit() and 12 <= len(number) <= 19


def charge(card: str) -> None:
    """Charges a card.

    Raises:
        CardDeclined: It is declined.
    """
    if card == DECLINED:
        raise CardDeclined
