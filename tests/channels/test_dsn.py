"""DSNs: what is missing is named, and no secret is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.channels import BadDSN, Channel, Channels
from service.channels.dsn import DSN

_SECRET = "t0psecret"
_USER = f"{_SECRET}:{_SECRET}"


def connect(dsns: str) -> tuple[Channel, ...]:
    kind = "email" if dsns.startswith("smtp") else "sms"
    return Channels().connect(kind, dsns)


@pytest.mark.parametrize(
    ("dsn", "named"),
    [
        ("pigeon://loft", "inbox://"),
        ("inbox://", "directory"),
        ("inbox:///dev/null/inbox", "directory"),
        ("smtp://mx.example.com", "from"),
        ("smtp://mx.example.com?from=Shop", "from"),
        ("smtp://mx.example.com?from=a@example.com%0D%0ABcc:b@example.com", "control character"),
        ("smtp://mx.example.com?from=a@example.com&starttls=perhaps", "starttls"),
        ("smtps://mx.example.com?from=a@example.com&starttls=never", "starttls"),
        (f"smtp://{_USER}@mx.example.com?from=a@example.com&starttls=never", "starttls=required"),
        (f"smtp://{_SECRET}@mx.example.com?from=a@example.com", "password"),
        (f"twilio://{_SECRET}@api.twilio.com?from=%2B1", "password"),
        ("twilio://api.twilio.com", "user, password, from"),
        (f"twilio://{_USER}", "host"),
        (f"twilio://{_USER}@?from=1", "host"),
        (f"twilio://{_USER}@api.twilio.com:port?from=1", "percent-encoded"),
        (f"twilio://user:{_SECRET}/#{_SECRET}@api.twilio.com?from=1", "percent-encoded"),
        (f"twilio://{_USER}@api.twilio.com?from=1&{_SECRET}=1", "user, password, from"),
        (f"twilio://{_USER}@api.twilio.com/{_SECRET}?from=1", "user, password, from"),
        (f"twilio://{_USER}@api.twilio.com?from=1&scheme=http", "https"),
        (f"twilio://{_USER}@127.0.0.1.example.com?from=1&scheme=http", "https"),
        (f"twilio://{_USER}@127.0.0.1?from=1&scheme=ftp", "https"),
        (f"vonage://{_USER}@rest.nexmo.com", "from"),
        (f"sns://{_USER}@sns.example.com", "region"),
        ("webhook://example.com/path", "secret"),
        (f"webhook://example.com/path?secret={_SECRET}", "whsec_"),
        (f"webhook://example.com/path?secret=whsec_{_SECRET}", "whsec_"),
        ("webhook://example.com?secret=whsec_YSBrZXkgb2Yg*29tZSB0d2VudHktZm91ciBieXRlcw", "whsec_"),
        (f"webhook://example.com/path?secret=whsec_a#{_SECRET}", "percent-encoded"),
        ("webhook://example.com/path?secret=whsec_dG9vIHNob3J0", "whsec_"),
        (f"apprise+json://{_USER}@example.com/", "{recipient}"),
        (f"apprise+nothing://{_USER}@example.com/{{recipient}}", "Apprise"),
    ],
)
def test_bad(dsn: str, named: str) -> None:
    with pytest.raises(BadDSN) as raised:
        connect(dsn)
    assert named in str(raised.value)
    assert _SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("dsn", "extra", "library"),
    [
        (f"sns://{_USER}@sns.eu-central-1.amazonaws.com", "sns", "botocore.awsrequest"),
        (
            "webhook://example.com?secret=whsec_YSBrZXkgb2Ygc29tZSB0d2VudHktZm91ciBieXRlcw==",
            "webhook",
            "standardwebhooks",
        ),
        ("apprise+json://example.com/{recipient}", "apprise", "apprise"),
    ],
)
def test_missing_extra(dsn: str, extra: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BadDSN, match=rf"pip install '\.\[{extra}\]'"):
        connect(dsn)


@pytest.mark.parametrize(
    ("kind", "dsn", "named"),
    [
        ("sms", f"smtp://{_USER}@mx.example.com?from=a@example.com", "smtp:// is for email only"),
        ("sms", f"smtps://{_USER}@mx.example.com?from=a@example.com", "smtps:// is for email only"),
        ("email", f"twilio://{_USER}@api.twilio.com?from=1", "twilio:// is for sms only"),
        ("email", f"vonage://{_USER}@rest.nexmo.com?from=1", "vonage:// is for sms only"),
        ("email", f"sns://{_USER}@sns.eu-west-1.amazonaws.com", "sns:// is for sms only"),
    ],
)
def test_a_scheme_in_the_wrong_list(kind: str, dsn: str, named: str) -> None:
    with pytest.raises(BadDSN, match=named):
        Channels().connect(kind, dsn)


def test_several_in_their_order(tmp_path: Path) -> None:
    channels = Channels().connect(
        "sms",
        f"twilio://{_USER}@api.twilio.com?from=Shop, inbox://{tmp_path}/inbox,"
        f"vonage://{_USER}@REST.nexmo.com:8443?from=Shop%2C%20Inc,,"
        f"sns://{_USER}@sns.eu-central-1.amazonaws.com",
    )
    assert [channel.name for channel in channels] == [
        "twilio://api.twilio.com",
        f"inbox://{tmp_path}/inbox",
        "vonage://rest.nexmo.com:8443",
        "sns://sns.eu-central-1.amazonaws.com",
    ]


def test_two_of_one_host_have_two_names_and_one_dsn_is_one_channel(tmp_path: Path) -> None:
    channels = Channels()
    inbox = f"inbox://{tmp_path}/inbox"
    one, two, three = (f"twilio://AC{n}:{_SECRET}@api.twilio.com?from=Shop" for n in range(3))
    sms = channels.connect("sms", f"{one}, {two},{inbox},{three},{one}")
    assert [channel.name for channel in sms] == [
        "twilio://api.twilio.com", "twilio://api.twilio.com#2", inbox, "twilio://api.twilio.com#3",
    ]  # fmt: skip
    [email] = channels.connect("email", inbox)
    assert email is sms[2]


def test_values_are_decoded_and_a_plus_stays_one() -> None:
    dsn = DSN(
        "twilio://us%2Fer:pass%40word@[::1]:8080/a%20path?from=+15005550006&key=a+b/c==",
        needs=("user", "password", "path", "from", "key"),
    )
    assert dsn.values == {
        "user": "us/er",
        "password": "pass@word",
        "path": "a%20path",
        "from": "+15005550006",
        "key": "a+b/c==",
    }
    assert (dsn.name, dsn.host, dsn.port) == ("twilio://[::1]:8080", "::1", 8080)
    assert dsn.loopback
    assert "pass" not in repr(dsn)
