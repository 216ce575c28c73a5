"""The page to attach to a dispute: a session's events as a timeline, in one file to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from string import Template
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.commands.wording import When, amount, proven, told
from service.errors import BadSetting
from service.evidence.documents import Checked

_TEMPLATES = resources.files("service.commands") / "templates"


def page(checked: Checked, time_zone: str | None) -> str:
    """Makes the page.

    Args:
        checked: The export.
        time_zone: The payer's, by its IANA name; None for UTC alone.

    Raises:
        BadSetting: There is no such time zone.
    """
    zone = _zone(time_zone)

    def when(text: str) -> str:
        return _local(_moment(text), zone)[0]

    template = Template((_TEMPLATES / "evidence.html").read_text("utf-8"))
    opened = checked.events[0]
    merchant = opened.get("merchant")
    values = {
        "session_id": checked.session_id,
        "title": f"Payment session at {merchant}" if merchant else "Payment session",
        "proven": proven(checked.events, when),
        "zones": f"Times are in {time_zone}, and below in UTC." if zone else "Times are in UTC.",
        "head": checked.head,
        "thumbprint": checked.thumbprint,
        "exported_at": _both(_moment(checked.exported_at), zone),
    }
    return template.substitute(
        {name: escape(value) for name, value in values.items()},
        facts="\n".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
            for name, value in _facts(checked, zone)
        ),
        events="\n".join(_item(event, checked, zone, when) for event in checked.events),
    )


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problem = "must be the name of a time zone, as Europe/Berlin"
        raise BadSetting("--time-zone", problem) from None


def _facts(checked: Checked, zone: ZoneInfo | None) -> Iterator[tuple[str, str]]:
    opened = checked.events[0]
    yield "Session", checked.session_id
    if "account_uid" in opened:
        yield "Account", opened["account_uid"]
    if opened.get("allowed_origins"):
        yield "Pages", ", ".join(opened["allowed_origins"])
    if payments := _payments(checked.events):
        yield "Payment", "; ".join(payments)
    yield "Opened", _both(_moment(opened["at"]), zone)


def _payments(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists each payment once, in the order in which they were named."""
    return list(dict.fromkeys(amount(event["payment"]) for event in events if "payment" in event))


def _item(event: Mapping[str, Any], checked: Checked, zone: ZoneInfo | None, when: When) -> str:
    one = told(event, checked.personal.get(str(event["seq"]), {}), when)
    at = _moment(event["at"])
    local, utc = _local(at, zone)
    lines = "".join(f"<li>{escape(line)}</li>" for line in one.details)
    below = f"<span>{escape(utc)}</span>" if utc else ""
    return (
        f'<li class="{one.mark}"><time datetime="{escape(event["at"])}">'
        f"<b>{escape(local)}</b>{below}</time>"
        f'<div class="event"><h3>{escape(one.title)}</h3>'
        f"{f'<ul>{lines}</ul>' if lines else ''}</div></li>"
    )


def _local(at: datetime, zone: ZoneInfo | None) -> tuple[str, str]:
    utc = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if zone is None:
        return utc, ""
    there = at.astimezone(zone)
    return f"{there:%Y-%m-%d %H:%M:%S} {there:%Z}", utc


def _both(at: datetime, zone: ZoneInfo | None) -> str:
    local, utc = _local(at, zone)
    return f"{local} ({utc})" if utc else local


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
