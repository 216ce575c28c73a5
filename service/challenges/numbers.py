"""Which phone numbers codes may go to: others cost more, and pay whoever asks for them."""

from __future__ import annotations

from collections.abc import Collection

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

NO_COUNTRY = "001"
"""What libphonenumber calls the region of numbers of no country, such as satellite telephones."""


class NumberRules:
    """The types of number and the countries that the settings allow."""

    def __init__(self, types: Collection[str], countries: Collection[str]) -> None:
        """Takes the settings.

        Args:
            types: Names of libphonenumber's types.
            countries: ISO 3166 codes to allow, or each with `!` in front, to deny.
        """
        self._types = types
        self._allowed = {country for country in countries if not country.startswith("!")}
        self._denied = {country.removeprefix("!") for country in countries} - self._allowed

    def problem(self, number: PhoneNumber) -> str | None:
        """Says why a valid number gets no codes; None where it does."""
        number_type = PhoneNumberType.to_string(phonenumbers.number_type(number))
        if number_type not in self._types:
            return f"is a number of type {number_type}; codes go to {' and '.join(self._types)}"
        region = phonenumbers.region_code_for_number(number)
        if region in self._allowed:
            return None
        if region == NO_COUNTRY:
            return "is a number of no country, such as a satellite telephone's"
        if self._allowed or region in self._denied:
            return f"is a number of {region}, where codes are not sent"
        return None
