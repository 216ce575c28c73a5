"""Currencies of payments that codes are bound to."""

from __future__ import annotations

from functools import cache

from iso4217 import Currency


@cache
def minor_units(currency: str) -> int:
    """Returns how many decimals an amount has, by ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD.

    Raises:
        ValueError: Not a code of ISO 4217, or one without minor units, such as gold.
    """
    units: int | None = Currency(currency).exponent
    if units is None:
        raise ValueError(f"{currency} has no minor units")
    return units
