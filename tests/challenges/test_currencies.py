"""Amounts have the minor units of ISO 4217, whatever CLDR shows of them."""

from __future__ import annotations

import re

import pytest
from iso4217 import Currency

from service.challenges.currencies import minor_units
from service.delivery.messages import _amount
from service.storage.rows import Payment

LEGAL_TENDER = sorted(one.code for one in Currency if one.exponent is not None)
WITHOUT_UNITS = sorted(one.code for one in Currency if one.exponent is None)


@pytest.mark.parametrize(
    ("currency", "units"), [("RSD", 2), ("IQD", 3), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("HUF", 2)]
)
def test_minor_units_are_those_of_the_standard(currency: str, units: int) -> None:
    assert minor_units(currency) == units


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_every_currency_shows_all_of_its_minor_units(language: str) -> None:
    assert len(LEGAL_TENDER) > 150
    for currency in LEGAL_TENDER:
        text = _amount(Payment(1_234_567, currency, "Acme"), language)
        assert re.sub(r"\D", "", text) == "1234567", (currency, text)
        decimals = re.search(r"[.,](\d+)\D*$", text)
        units = minor_units(currency)
        assert len(decimals[1]) == units if units and decimals else not units, (currency, text)


@pytest.mark.parametrize("currency", [*WITHOUT_UNITS, "ZZZ", "eur"])
def test_what_has_no_minor_units_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match=currency):
        minor_units(currency)
