"""Which numbers get codes: libphonenumber's examples of every region and type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import phonenumbers
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from phonenumbers import PhoneNumber, PhoneNumberType

from service.challenges.destinations import normal_phone
from service.challenges.numbers import NO_COUNTRY, NumberRules
from service.errors import InvalidRequest
from service.settings import Settings
from tests.harness.marks import one_database
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import running
from tests.harness.tokens import Issuer

BY_DEFAULT = ("MOBILE", "FIXED_LINE_OR_MOBILE")
TYPES = [PhoneNumberType.to_string(kind) for kind in PhoneNumberType.values() if kind != 99]
GLOBAL_CODES = sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)


def examples() -> Iterator[tuple[str, str, PhoneNumber]]:
    """Yields region, type and number of every example that libphonenumber has."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in PhoneNumberType.values():
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None and phonenumbers.is_valid_number(number):
                yield region, PhoneNumberType.to_string(phonenumbers.number_type(number)), number


def e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def takes(rules: NumberRules, number: PhoneNumber) -> bool:
    try:
        return normal_phone(e164(number), rules) == e164(number)
    except InvalidRequest:
        return False


@pytest.mark.slow
def test_every_region_has_examples() -> None:
    found = list(examples())
    assert len({region for region, _, _ in found}) == len(phonenumbers.SUPPORTED_REGIONS) >= 245
    assert {kind for _, kind, _ in found} == set(TYPES)


@pytest.mark.slow
def test_mobile_numbers_of_every_region_get_codes_and_no_others() -> None:
    rules = NumberRules(BY_DEFAULT, ())
    for region, kind, number in examples():
        assert takes(rules, number) == (kind in BY_DEFAULT), (region, kind, number)


@pytest.mark.slow
@pytest.mark.parametrize("named", TYPES)
def test_a_type_that_is_named_gets_codes_and_no_other(named: str) -> None:
    rules = NumberRules((named,), ())
    for region, kind, number in examples():
        assert takes(rules, number) == (kind == named), (region, kind, number)


@pytest.mark.slow
def test_only_countries_that_are_allowed_get_codes() -> None:
    rules = NumberRules(TYPES, ("DE", "US"))
    for _, kind, number in examples():
        country = phonenumbers.region_code_for_number(number)  # toll-free +1 is anyone's
        assert takes(rules, number) == (country in ("DE", "US")), (country, kind, number)


@pytest.mark.slow
def test_all_countries_but_those_denied_get_codes() -> None:
    rules = NumberRules(TYPES, ("!RU", "!GB"))
    for _, kind, number in examples():
        country = phonenumbers.region_code_for_number(number)
        assert takes(rules, number) == (country not in ("RU", "GB")), (country, kind, number)


def test_countries_that_share_a_calling_code_are_told_apart() -> None:
    russian, kazakh = "+79123456789", "+77710009998"
    rules = NumberRules(BY_DEFAULT, ("!RU",))
    assert normal_phone(kazakh, rules) == kazakh
    with pytest.raises(InvalidRequest, match="is a number of RU, where codes are not sent"):
        normal_phone(russian, rules)


@pytest.mark.parametrize("calling_code", GLOBAL_CODES)
@pytest.mark.parametrize("countries", [(), ("!RU",), ("US",), ("!001",)])
def test_numbers_of_no_country_get_none(calling_code: int, countries: tuple[str, ...]) -> None:
    number = phonenumbers.example_number_for_non_geo_entity(calling_code)
    assert number is not None
    assert phonenumbers.region_code_for_number(number) == NO_COUNTRY
    assert not takes(NumberRules(TYPES, countries), number)


def test_numbers_of_no_country_can_be_allowed_by_name() -> None:
    iridium = phonenumbers.example_number_for_non_geo_entity(881)
    assert iridium is not None
    assert takes(NumberRules(BY_DEFAULT, (NO_COUNTRY,)), iridium)


@one_database
@pytest.mark.parametrize(
    ("number", "settings", "reason"),
    [
        ("+19002345678", {}, "is a number of type PREMIUM_RATE; codes go to MOBILE and "),
        ("+979123456789", {}, "is a number of type PREMIUM_RATE; codes go to MOBILE and "),
        ("+881612345678", {}, "is a number of no country, such as a satellite telephone's"),
        ("+8823421234", {}, "is a number of no country, such as a satellite telephone's"),
        ("+493012345678", {}, "is a number of type FIXED_LINE; codes go to MOBILE and "),
        ("+14155550123", {"sms_countries": "DE,AT"}, "is a number of US, where codes are not sent"),
        ("+14155550123", {"sms_countries": "!US"}, "is a number of US, where codes are not sent"),
        ("+14155550123", {"sms_number_types": "MOBILE"}, "is a number of type FIXED_LINE_OR_"),
    ],
)
async def test_a_number_that_gets_no_codes_is_refused_by_name_when_it_is_issued(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    number: str,
    settings: dict[str, str],
    reason: str,
) -> None:
    async with running(make_settings(**settings), provider, clock, issuer) as service:
        session = await service.open()
        refusal = await refused(service.issue(session, sms=admin_pb2.Sms(phone_number=number)))
        assert refusal.brief == ("INVALID_ARGUMENT", 422, "validation_error", False)
        ((field, problem),) = refusal.violations
        assert field == "sms.phone_number"
        assert problem.startswith(reason)
        assert number not in problem
        assert await service.get(session) is None
