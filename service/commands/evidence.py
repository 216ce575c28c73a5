"""What the commands do with evidence: export, check, show, explain, erase."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2

from service.commands.client import call
from service.errors import BadSetting, CannotProceed
from service.evidence import documents
from service.evidence.documents import Checked
from service.evidence.explaining import explain as explain_document


class Evidence(NamedTuple):
    """A session's evidence, which holds.

    Attributes:
        document: The export.
        checked: What it says.
    """

    document: str
    checked: Checked


def export(data: Path, target: str | None, session_id: str) -> Evidence:
    """Exports a session's evidence, and checks what came.

    Raises:
        CannotProceed: The server cannot be reached or refuses, or what it says does not hold.
    """
    request = admin_pb2.ExportEvidenceRequest(session_id=session_id)
    return _checked(call(data, target, "ExportEvidence", request).document)


def explain(data: Path, target: str | None, session_id: str) -> str:
    """Explains what a session has come to.

    Raises:
        CannotProceed: The server cannot be reached or refuses.
    """
    return explain_document(export(data, target, session_id).checked)


def read(file: Path, thumbprint: str | None) -> Evidence:
    """Reads an export from a file.

    Raises:
        CannotProceed: It does not hold, or was signed with another key than that of `thumbprint`.
    """
    try:
        document = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadSetting("--check", "must be a file of text that can be read") from None
    evidence = _checked(document)
    signer = evidence.checked.thumbprint
    if thumbprint not in (None, signer):
        raise CannotProceed(f"the evidence was signed by another key, {signer}")
    return evidence


def summary(found: Checked, thumbprint: str | None) -> str:
    """Returns a line that says what holds."""
    signer = found.thumbprint if thumbprint else f"{found.thumbprint}: compare that with yours"
    events = f"{len(found.events)} events of {found.session_id}"
    erased = f"erased before that: {', '.join(found.erased)}" if found.erased else "nothing erased"
    return f"it holds: {events}, {erased}, signed at {found.exported_at} by {signer}"


def _checked(document: str) -> Evidence:
    try:
        return Evidence(document, documents.check(document))
    except documents.Wrong as error:
        raise CannotProceed(f"the evidence does not hold: {error}") from None


def erase(data: Path, target: str | None, destination: str) -> str:
    """Erases a phone number or an address, and says of how much.

    Raises:
        CannotProceed: The server cannot be reached or refuses.
    """
    request = admin_pb2.EraseDestinationRequest()
    if "@" in destination:
        request.email.address = destination
    else:
        request.sms.phone_number = destination
    erased = call(data, target, "EraseDestination", request)
    return f"sessions {erased.sessions}\nevents {erased.events}"
