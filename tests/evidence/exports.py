"""Exports of a running service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.evidence.documents import check
from tests.harness.service import Service, Session


async def exported(service: Service, session: Session) -> str:
    """Exports a session's evidence."""
    request = admin_pb2.ExportEvidenceRequest(session_id=session.session_id)
    document: str = (await service.admin("ExportEvidence", request)).document
    return document


async def events_of(service: Service, session: Session) -> Sequence[Any]:
    """Returns the events of a session, once its export holds."""
    return check(await exported(service, session)).events


async def names_of(service: Service, session: Session) -> list[str]:
    """Returns what they are."""
    return [event["event"] for event in await events_of(service, session)]
