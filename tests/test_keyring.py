"""The key ring: what it derives, and what becomes of sessions when it changes."""

from __future__ import annotations

import base64
import contextlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from service.keyring import Fingerprints, KeyRetired, KeyRing, random_key
from service.settings import Settings
from tests.harness.providers import Provider
from tests.harness.refusals import refused
from tests.harness.service import running
from tests.harness.timing import eventually
from tests.harness.tokens import Issuer

KEY = bytes(range(32))


def entry(key_id: str, key: bytes = KEY) -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


def with_newer_key(settings: Settings) -> str:
    """Puts a key in front of the ring."""
    return f"{entry('k2', secrets.token_bytes(32))},{settings.keys.get_secret_value()}"


def test_the_first_key_is_the_newest() -> None:
    assert KeyRing.parse(f"{entry('b')}, {entry('a', bytes(32))}").newest == "b"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "key 1 is not of the form ID:BASE64"),
        ("c2VjcmV0", "key 1 is not of the form ID:BASE64"),
        (f":{base64.b64encode(KEY).decode()}", "key 1 is not of the form ID:BASE64"),
        (f"{entry('a')},", "key 2 is not of the form ID:BASE64"),
        ("a:s3cr3t!", "key 1 is not valid base64"),
        ("a:s3cr\u00e9t", "key 1 is not valid base64"),
        (f"{entry('a')},b:c2VjcmV0", "key 2 has 6 bytes, at least 32 are needed"),
        (entry("a", KEY[:31]), "key 1 has 31 bytes, at least 32 are needed"),
        (f"{entry('a')},{entry('a', bytes(32))}", "key 2 repeats the id of another"),
    ],
)
def test_a_malformed_ring_says_where_and_shows_no_key(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        KeyRing.parse(text)


@pytest.mark.parametrize("purpose", [b"", b"x", b"code\0" + bytes(300)])
def test_keys_are_derived_as_rfc_5869_says(purpose: bytes) -> None:
    ring = KeyRing.parse(entry("k"))
    assert ring.derive("k", purpose) == HKDFExpand(SHA256(), 32, purpose).derive(KEY)


def test_every_purpose_has_a_key_of_its_own() -> None:
    ring = KeyRing({"a": KEY, "b": bytes(32)})
    keys = {ring.derive(key_id, purpose) for key_id in "ab" for purpose in (b"x", b"y")}
    assert len(keys) == 4
    assert KEY not in keys


def test_what_was_encrypted_can_be_read_again() -> None:
    ring = KeyRing({"a": KEY})
    assert ring.decrypt("a", ring.encrypt("a", "+14155550123", "c1"), "c1") == "+14155550123"


def test_the_same_text_is_encrypted_differently_each_time() -> None:
    ring = KeyRing({"a": KEY})
    assert ring.encrypt("a", "text", "c1") != ring.encrypt("a", "text", "c1")


def test_a_ciphertext_holds_no_plaintext() -> None:
    assert b"+14155550123" not in KeyRing({"a": KEY}).encrypt("a", "+14155550123", "c1")


def test_a_ciphertext_moved_to_another_challenge_is_not_read() -> None:
    ring = KeyRing({"a": KEY})
    with pytest.raises(KeyRetired):
        ring.decrypt("a", ring.encrypt("a", "text", "c1"), "c2")


@pytest.mark.parametrize("position", [0, 11, 12, -1])
def test_a_ciphertext_that_was_changed_is_not_read(position: int) -> None:
    ring = KeyRing({"a": KEY})
    sealed = bytearray(ring.encrypt("a", "text", "c1"))
    sealed[position] ^= 1
    with pytest.raises(KeyRetired):
        ring.decrypt("a", bytes(sealed), "c1")


def test_another_rings_ciphertext_is_not_read() -> None:
    sealed = KeyRing({"a": bytes(32)}).encrypt("a", "text", "c1")
    with pytest.raises(KeyRetired):
        KeyRing({"a": KEY}).decrypt("a", sealed, "c1")
    with pytest.raises(KeyRetired):
        KeyRing({"b": bytes(32)}).decrypt("a", sealed, "c1")


def test_a_fingerprint_is_keyed_and_tells_destinations_apart() -> None:
    prints = Fingerprints(KEY)
    assert prints.of("x") == prints.of("x")
    assert prints.of("x") != prints.of("y")
    assert prints.of("x") != Fingerprints(bytes(32)).of("x")


def test_a_key_that_is_in_the_ring_too_is_used_for_nothing_twice() -> None:
    assert Fingerprints(KEY).of("x") != hmac.digest(KEY, b"x", "sha256").hex()[:32]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s3cr3t!", "the key is not valid base64"),
        ("s3cr\u00e9t", "the key is not valid base64"),
        ("c2VjcmV0", "the key has 6 bytes, at least 32 are needed"),
        (entry("k1"), "the key is not valid base64"),
    ],
)
def test_a_malformed_fingerprint_key_is_not_shown(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        Fingerprints.parse(text)


def test_a_random_key_is_one_that_is_taken() -> None:
    first, second = random_key(), random_key()
    assert first != second
    assert KeyRing.parse(f"k1:{first}").newest == "k1"
    assert Fingerprints.parse(second).of("x")


# Over gRPC, on both databases, across a restart with another ring.


async def test_a_code_sent_before_a_rotation_is_accepted_after_it(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    old = make_settings()
    async with running(old, provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
    new = make_settings(keys=with_newer_key(old))
    async with running(new, provider, clock, issuer) as service:
        await service.verify(session, provider.code())


async def test_a_code_is_resent_after_a_rotation(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    old = make_settings()
    async with running(old, provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
        code = provider.code()
        await service.later(30)
    new = make_settings(keys=with_newer_key(old))
    async with running(new, provider, clock, issuer) as service:
        await service.send(session)
    assert len(provider.accepted) == 2
    assert provider.code() == code
    assert provider.accepted[-1].recipient == "+14155550123"


async def test_a_challenge_after_a_rotation_uses_the_newest_key(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    settings = make_settings(keys=with_newer_key(make_settings()))
    async with running(settings, provider, clock, issuer) as service:
        session = await service.challenged()
        assert await service.column(session, "key_id") == "k2"
        await service.send(session)
        await service.verify(session, provider.code())


async def test_a_rotation_gives_no_destination_its_quota_anew(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    old = make_settings()
    async with running(old, provider, clock, issuer) as service:
        with contextlib.suppress(grpc.aio.AioRpcError):
            for _ in range(20):
                await service.send(await service.challenged())
        await eventually(service.settled)
        sent = len(provider.accepted)
        assert 1 <= sent < 20
    for ring in (with_newer_key(old), entry("k3", bytes(32))):
        async with running(make_settings(keys=ring), provider, clock, issuer) as service:
            refusal = await refused(service.send(await service.challenged()))
            assert refusal.brief[:3] == ("RESOURCE_EXHAUSTED", 429, "rate_limited")
    assert len(provider.accepted) == sent


async def test_a_code_under_a_retired_key_is_refused_and_not_counted(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        session = await service.challenged()
        await service.send(session)
    retired = make_settings(keys=entry("k2"))
    async with running(retired, provider, clock, issuer) as service:
        refusal = await refused(service.verify(session, provider.code()))
        assert refusal.brief == ("FAILED_PRECONDITION", 400, "challenge_failed", True)
        assert refusal.text == "That code is no longer valid. Request a new one."
        assert await service.column(session, "wrong_total") == 0


async def test_a_challenge_under_a_retired_key_sends_nothing_until_reissued(
    make_settings: Callable[..., Settings], provider: Provider, clock: Any, issuer: Issuer
) -> None:
    async with running(make_settings(), provider, clock, issuer) as service:
        session = await service.challenged()
    retired = make_settings(keys=entry("k2"))
    async with running(retired, provider, clock, issuer) as service:
        assert not (await service.send(session)).code_sent
        assert provider.calls == []
        assert await service.column(session, "sends") == 0
        await service.issue(session)
        assert (await service.send(session)).code_sent
        await service.verify(session, provider.code())
