"""Exports a session's evidence: only one that holds is signed."""

from __future__ import annotations

import hmac

import orjson

from service.errors import EvidenceBroken, SessionNotFound
from service.evidence import documents
from service.evidence.chain import Broken, recomputed
from service.evidence.signing import Signer
from service.keyring import EvidenceKeys
from service.storage.archive import Archive
from service.telemetry import logs


class Exporter:
    """Exports evidence, also of sessions whose row has been deleted."""

    def __init__(self, archive: Archive, keys: EvidenceKeys) -> None:
        self._archive = archive
        self._key = keys.mac
        self._signer = Signer(keys)

    async def export(self, session_id: str, account_uid: str | None) -> str:
        """Returns the document; see `documents`.

        Args:
            session_id: The session's.
            account_uid: The one account whose sessions may be seen; None for any.

        Raises:
            SessionNotFound: There is no evidence of it, or it is another account's.
            EvidenceBroken: It was changed.
        """
        found = await self._archive.evidence(session_id)
        if found is None or account_uid not in (None, found.account_uid):
            raise SessionNotFound
        if not (found.events or found.chain):
            raise SessionNotFound  # it is older than evidence
        try:
            chain = recomputed(self._key, session_id, (text for text, _ in found.events))
            if not hmac.compare_digest(str(chain), found.chain):
                raise Broken(chain.length, "is not the last, or was changed")
            document = documents.write(
                self._signer, session_id, found.events, chain.head, found.now
            )
            documents.verify(orjson.loads(document))
        except (Broken, documents.Wrong) as error:
            logs.error("evidence_broken", session_id=session_id, problem=str(error))
            raise EvidenceBroken(str(error)) from None
        return document
