"""The page to attach to a dispute, and the check that needs no service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from examples.check_evidence import check as check_evidence
from service.commands.evidence import summary
from service.commands.timeline import page
from service.errors import BadSetting
from service.evidence.documents import check
from tests.evidence.exports import exported
from tests.harness.marks import one_database
from tests.harness.refusals import refused
from tests.harness.service import Service, Session
from tests.harness.timing import eventually

EXAMPLE = Path(__file__).parents[2] / "examples/check_evidence.py"
HOSTILE = "<script>alert('x')</script> & \"Söhne\""


class Page(HTMLParser):
    """What a page has: its elements, their attributes, its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
async def session(service: Service) -> Session:
    """A session of a merchant with a hostile name."""
    session = await service.open(
        merchant_display_name=HOSTILE, allowed_origins=["https://shop.example"]
    )
    payment = admin_pb2.Payment(amount_minor=150000, currency="JPY", payee=HOSTILE)
    await service.issue(session, sms=admin_pb2.Sms(phone_number="+14155550123"), payment=payment)
    await service.send(session, origin="https://shop.example")
    await eventually(service.settled)
    await refused(service.verify(session, service.provider.wrong(), payment=payment))
    code, address = service.provider.code(), "203.0.113.9"
    await service.verify(session, code, payment=payment, remote_ip=address)
    await service.close(session, "COMPLETED")
    return session


@one_database
async def test_the_page_shows_what_happened(service: Service, session: Session) -> None:
    shown = Page(page(check(await exported(service, session)), None)).text
    for told in (
        f"Payment session at {HOSTILE}", "The payer met the challenge", "a code by SMS", "--0123",
        f"JPY 150,000 to {HOSTILE}", "took the message with the code", "msg_1",
        "The payer's response was wrong", "The payer's response was right", "203.0.113.9",
        "The payment is complete", session.session_id,
    ):  # fmt: skip
        assert told in shown, told


@one_database
async def test_nothing_of_it_is_markup_and_nothing_is_loaded(
    service: Service, session: Session
) -> None:
    html = page(check(await exported(service, session)), "Europe/Berlin")
    found = Page(html)
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(found.elements)
    assert not [name for name, _ in found.attributes if name in ("src", "href", "style")]
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html
    assert HOSTILE not in html
    assert "default-src 'none'" in html


@one_database
async def test_every_text_that_callers_choose_is_escaped(service: Service) -> None:
    session = await service.open()
    await service.issue(session, hcaptcha=admin_pb2.Captcha(site_key='<b/onload="x">&'))
    request = admin_pb2.WaiveChallengeRequest(session_id=session.session_id)
    await service.admin("WaiveChallenge", request, service.issuer.token(sub="<i/onload>"))
    await service.close(session, "EXPIRED")
    html = page(check(await exported(service, session)), None)
    assert "<b/onload" not in html
    assert "<i/onload" not in html
    assert "By: <i/onload>" in Page(html).text


@one_database
async def test_times_are_the_payers_and_in_utc(service: Service, session: Session) -> None:
    checked = check(await exported(service, session))
    opened = checked.events[0]["at"][:19].replace("T", " ")
    in_utc = Page(page(checked, None)).text
    assert f"{opened} UTC" in in_utc
    both = Page(page(checked, "Asia/Kathmandu")).text  # UTC+05:45
    assert f"{opened} UTC" in both
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0545", both)
    assert "Times are in Asia/Kathmandu" in both


@one_database
@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "/etc/passwd", "\0"])
async def test_a_zone_that_is_none_is_told(service: Service, zone: str) -> None:
    session = await service.open()
    checked = check(await exported(service, session))
    with pytest.raises(BadSetting, match="--time-zone"):
        page(checked, zone)


@one_database
async def test_what_was_erased_is_said_to_be(service: Service, session: Session) -> None:
    number = admin_pb2.Sms(phone_number="+14155550123")
    await service.admin("EraseDestination", admin_pb2.EraseDestinationRequest(sms=number))
    document = await exported(service, session)
    checked = check(document)
    assert checked.erased == ["hint of event 2", "remote_ip of event 5"]
    assert "erased before that: hint of event 2, remote_ip of event 5" in summary(checked, None)
    assert json.loads(check_evidence(json.loads(document)))[1]["erased before"] == [
        "hint_sha256 of event 2",
        "remote_ip_sha256 of event 5",
    ]
    shown = Page(page(checked, None)).text
    assert "Destination: erased" in shown
    assert "--0123" not in shown
    assert "203.0.113.9" not in shown


# The page of fifty lines


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.programs
@one_database
async def test_anyone_can_check_without_the_service(
    service: Service, session: Session, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(await exported(service, session), "utf-8")
    document = json.loads(file.read_text("utf-8"))
    held = run(str(file), document["thumbprint"])
    assert (held.returncode, held.stderr) == (0, "")
    line, erased, *events, personal = json.loads(held.stdout)
    assert line.startswith(f"6 events of {session.session_id} hold")
    assert (erased, events) == ({"erased before": []}, document["events"])
    assert personal == document["personal"]
    assert "signed by another key" in run(str(file), "another").stderr

    changes = [("head", lambda d: d["events"][3].update(wrong_total=0)),
               ("left out", lambda d: d["events"].pop(3)),
               ("cut", lambda d: d["events"].pop()),
               ("personal", lambda d: d["personal"]["2"]["hint"].update(value="--9999")),
               ("hidden", lambda d: d["personal"].pop("2")),
               ("signature", lambda d: d.update(signature=d["signature"][:-9] + "AAAAAAAAA")),
               ("session", lambda d: d.update(session_id="cs_other"))]  # fmt: skip
    for what, change in changes:
        other = json.loads(json.dumps(document))
        change(other)
        file.write_text(json.dumps(other), "utf-8")
        assert run(str(file)).returncode != 0, what


def test_it_is_fifty_lines() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 50
