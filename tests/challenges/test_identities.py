"""One identity for all that reaches the same mailbox or phone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import phonenumbers
import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.challenges.destinations import normal_address, normal_phone
from service.challenges.identities import identity
from service.challenges.numbers import NumberRules
from service.errors import InvalidRequest
from service.settings import Settings
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import Service, running
from tests.harness.tokens import Issuer

ALL_PHONES = NumberRules(("MOBILE", "FIXED_LINE", "FIXED_LINE_OR_MOBILE"), ())


def of_address(text: str) -> str:
    return identity("email", normal_address(text))


def of_phone(text: str) -> str:
    return identity("sms", normal_phone(text, ALL_PHONES))


@pytest.mark.parametrize(
    ("address", "spellings"),
    [
        (
            "victim@gmail.com",
            [
                "v.ictim@gmail.com", "VICTIM@Gmail.COM", "v.i.c.t.i.m+a.b+c@googlemail.com",
                "victim+0@gmail.com", "victim@googlemail.com", "victim+@gmail.com",
            ],
        ),
        ("jane.doe@icloud.com", ["jane.doe@me.com", "Jane.Doe+x@mac.com"]),
        ("janedoe@proton.me", ["jane.doe@protonmail.com", "jane_doe+x@pm.me"]),
        ("jane@fastmail.com", ["shop@jane.fastmail.com", "a.b+c@jane.fastmail.com"]),
        ("jane.doe@firm.example", ["jane.doe+0@firm.example", "Jane.Doe+1+2@FIRM.example"]),
        ("jane@b\u00fccher.example", ["jane@xn--bcher-kva.example", "jane+x@B\u00dcCHER.example"]),
        ("jos\u00e9@post.example", ["jose\u0301@post.example", "JOS\u00c9@post.example"]),
    ],
)  # fmt: skip
def test_an_address_is_one_whatever_its_spelling(address: str, spellings: list[str]) -> None:
    assert {of_address(spelling) for spelling in spellings} == {of_address(address)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jane.doe@outlook.com", "janedoe@outlook.com"),
        ("jane@outlook.com", "jane@hotmail.com"),
        ("jane_doe@gmail.com", "janedoe@gmail.com"),
        ("jane-doe@icloud.com", "janedoe@icloud.com"),
        ("jane@gmail.com", "jane@gmail.example"),
        ("jane@mail.gmail.com", "jane@gmail.com"),
        ("a@b.jane.fastmail.com", "a@jane.fastmail.com"),
        ("+14155550123@mms.example", "+14155550124@mms.example"),
        ("jane@strasse.example", "jane@stra\u00dfe.example"),
    ],
)
def test_other_mailboxes_are_others(one: str, other: str) -> None:
    assert of_address(one) != of_address(other)


_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
_tags = st.text("abcXYZ019._+-", max_size=12).filter(lambda tag: ".." not in tag)


def _spelt(data: st.DataObject, name: str) -> str:
    """Spells a name at Gmail in another way."""
    dots = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    upper = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    local = "".join(
        f"{'.' if dot and place else ''}{char.upper() if big else char}"
        for place, (char, dot, big) in enumerate(zip(name, dots, upper, strict=True))
    )
    tag = data.draw(st.none() | _tags.filter(lambda tag: not tag.endswith(".")))
    domain = data.draw(st.sampled_from(["gmail.com", "GMAIL.com", "googlemail.com"]))
    return f"{local}{'' if tag is None else '+' + tag}@{domain}"


@pytest.mark.slow
@given(data=st.data(), name=_names, other=_names)
def test_however_gmail_is_spelt_it_is_one_mailbox(
    data: st.DataObject, name: str, other: str
) -> None:
    spelt = of_address(_spelt(data, name))
    assert spelt == of_address(f"{name}@gmail.com")
    assert (of_address(_spelt(data, other)) == spelt) == (name == other)


@pytest.mark.slow
@given(address=st.emails())
def test_an_identity_is_its_own(address: str) -> None:
    try:
        whose = of_address(address)
    except InvalidRequest:
        return
    assert identity("email", whose) == whose
    local, _, domain = whose.rpartition("@")
    assert local
    assert domain


def mobile_numbers() -> Iterator[tuple[str, phonenumbers.PhoneNumber]]:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if number is not None and phonenumbers.is_valid_number(number):
            yield region, number


@pytest.mark.slow
def test_a_phone_of_every_region_is_one_however_it_is_written() -> None:
    seen: dict[str, str] = {}
    for region, number in mobile_numbers():
        code = number.country_code
        national = phonenumbers.national_significant_number(number)
        trunk = phonenumbers.ndd_prefix_for_region(region, strip_non_digits=True) or ""
        international = phonenumbers.PhoneNumberFormat.INTERNATIONAL
        written = [
            f"+{code}{national}",
            f"+{code} ({national[:2]}) {national[2:]}",
            phonenumbers.format_number(number, international),
        ]
        with_trunk = f"+{code} {trunk} {national}"  # as people write it: +44 0 7911 …
        if phonenumbers.is_valid_number(phonenumbers.parse(with_trunk)):
            written.append(with_trunk)
        assert len({of_phone(text) for text in written}) == 1, (region, written)
        whose = of_phone(written[0])
        assert seen.setdefault(whose, written[0]) == written[0], (region, seen[whose])


@pytest.mark.parametrize(
    ("number", "spellings"),
    [
        ("+541123456789", ["+5491123456789", "+54 9 11 2345-6789", "+54 11 15 2345 6789"]),
        ("+5511961234567", ["+55 0 15 11 96123 4567"]),
        ("+447911123456", ["+44 (0) 7911 123456"]),
    ],
)
def test_a_phone_is_one_in_all_ways_of_its_country(number: str, spellings: list[str]) -> None:
    assert {of_phone(spelling) for spelling in spellings} == {of_phone(number)}


def test_the_old_way_to_mexican_phones_is_no_second_one() -> None:
    assert of_phone("+525512345678")
    with pytest.raises(InvalidRequest):  # since 2019 it is +52, without the 1
        of_phone("+5215512345678")


SPELLINGS = pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        ("email", ["victim+0@gmail.com", "v.ictim@gmail.com", "victim@googlemail.com"]),
        ("sms", ["+5491123456789", "+541123456789"]),
    ],
)


async def _send_to(service: Service, kind: str, to: str) -> Any:
    method = {"email": admin_pb2.Email(address=to), "sms": admin_pb2.Sms(phone_number=to)}
    session = await service.open()
    await service.issue(session, **{kind: method[kind]})
    return await service.send(session)


@SPELLINGS
async def test_spellings_share_a_quota(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    kind: str,
    spellings: list[str],
) -> None:
    settings = make_settings(sms_number_types="MOBILE,FIXED_LINE")
    first, *others = spellings
    async with running(settings, provider, clock, issuer) as service:
        with contextlib.suppress(grpc.aio.AioRpcError):
            for _ in range(20):
                await _send_to(service, kind, first)
        assert 1 <= len(provider.accepted) < 20
        for spelling in others:
            refusal = await refused(_send_to(service, kind, spelling))
            assert refusal.code == "rate_limited"


@SPELLINGS
async def test_a_message_goes_where_it_was_said(
    make_settings: Callable[..., Settings],
    provider: Provider,
    clock: Any,
    issuer: Issuer,
    kind: str,
    spellings: list[str],
) -> None:
    settings = make_settings(sms_number_types="MOBILE,FIXED_LINE")
    async with running(settings, provider, clock, issuer) as service:
        for spelling in spellings:
            await _send_to(service, kind, spelling)
    assert [message.recipient for message in provider.accepted] == spellings
