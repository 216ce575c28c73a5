"""The events of a session, each made of the row as it was read and of what is about to change.

None holds a code, a destination or a credential. What is personal is committed to: salt and value
stand beside the event until they are erased.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from service.evidence.chain import Chain, commitment, moment
from service.keyring import EvidenceKeys
from service.storage.rows import (
    Event,
    NewAttempt,
    NewChallenge,
    NewSession,
    Payment,
    SessionChanges,
    SessionRow,
    Settlement,
)

_SALT_BYTES = 16


class FallbackReason(StrEnum):
    """Why a fallback has taken a challenge's place, as its event and the log say."""

    REFUSED = "refused"
    """The destination is refused for good."""
    DEAD = "dead"
    """No provider takes the message."""
    OUTAGE = "outage"
    """The captcha's provider is down."""
    PAYER = "payer"
    """The payer asks for another way."""


class Events:
    """Makes events. Writing them is for the change that they tell of."""

    def __init__(self, keys: EvidenceKeys) -> None:
        self._key = keys.mac

    def opened(self, new: NewSession, now: int) -> Event:
        """A session was registered."""
        details = {
            "session_id": new.session_id,
            "account_uid": new.account_uid,
            "scope": new.scope,
            "allowed_origins": new.allowed_origins.split(),
            "merchant": new.merchant_name,
            "challenge_expected": new.challenge_expected,
            "expires_at": moment(now + new.lifetime_ms),
        }
        return self._event(new, now, "opened", details)

    def challenged(
        self, row: SessionRow, new: NewChallenge, fallback: FallbackReason | None = None
    ) -> Event:
        """A challenge was issued, in place of any other.

        Args:
            row: The row as it was read.
            new: The challenge.
            fallback: Why, where it is the fallback of the one before, whose payment stays.
        """
        payment = row.payment if fallback else new.payment
        details = {
            "challenge_id": new.challenge_id,
            "type": new.challenge_type,
            "fallback": fallback,
            "site_key": new.site_key,
            "payment": _payment(payment),
        }
        personal = {"hint": new.delivery_hint}
        event = self._event(row, row.now, "challenged", details, personal)
        return event._replace(fingerprint=new.fingerprint)

    def tried(
        self,
        row: SessionRow,
        claimed: SessionRow,
        settlement: Settlement,
        attempt: NewAttempt | None,
        at: int,
    ) -> Event:
        """A try to deliver a code ended; the chain stays where there is nothing to tell yet.

        Args:
            row: The row as it is now.
            claimed: As it was claimed for the try.
            settlement: What becomes of the dispatch.
            attempt: The provider's reply, if one was called.
            at: When it ended.
        """
        if attempt is None and settlement.state == "queued":
            return unchanged(row)
        details = {
            "challenge_id": claimed.challenge_id,
            "try": claimed.tries,
            "claimed_at": moment(claimed.claimed_at),
            "page_origin": claimed.page_origin,
            "channel": attempt and attempt.channel,
            "message_id": attempt and attempt.provider_message_id,
            "outcome": attempt and attempt.outcome,
            "dispatch": settlement.state,
            "reason": attempt.reason if attempt and attempt.reason else settlement.reason,
            "refused": settlement.refused or None,
            "code_expires_at": moment(claimed.code_expires_at),
        }
        return self._event(row, at, "tried", details)

    def answered(
        self,
        row: SessionRow,
        *,
        right: bool,
        reason: str | None,
        payment: Payment | None,
        remote_ip: str,
        answers_left: int | None,
        confirms_left: int | None,
        satisfied_ms: int,
    ) -> Event:
        """A response was judged, and counted or accepted.

        Args:
            row: The row as it was judged by.
            right: Whether it was.
            reason: A captcha provider's; None for codes.
            payment: The payment that it was for, if it was named.
            remote_ip: The payer's address, if it was.
            answers_left: Answers that may still be tried; None where it is right.
            confirms_left: Payments that it lets go on, after this one; None for any number.
            satisfied_ms: How long it does.
        """
        details: dict[str, Any] = {
            "challenge_id": row.challenge_id,
            "verdict": "right" if right else "wrong",
            "reason": reason,
            "payment": _payment(payment),
            "wrong_code": row.wrong_code + (not right),
            "wrong_total": row.wrong_total + (not right),
            "answers_left": answers_left,
        }
        if right:
            details |= {"until": moment(row.now + satisfied_ms), "confirms_left": confirms_left}
        personal = {"remote_ip": remote_ip}
        return self._event(row, row.now, "answered", details, personal)

    def confirmed(self, row: SessionRow, payment: Payment | None, remote_ip: str) -> Event:
        """Another payment was let go on by a challenge that had been satisfied."""
        assert row.confirms_left is not None  # where payments are not counted, none is noted
        details = {
            "challenge_id": row.challenge_id,
            "payment": _payment(payment),
            "confirms_left": row.confirms_left - 1,
        }
        personal = {"remote_ip": remote_ip}
        return self._event(row, row.now, "confirmed", details, personal)

    def updated(self, row: SessionRow, changes: SessionChanges, *, voids: bool) -> Event:
        """The session was changed by its owner.

        Args:
            row: The row as it was read.
            changes: What changes.
            voids: Whether code, proof or waiver are for another payment, and void.
        """
        origins, ends = changes.allowed_origins, changes.expires_at
        details = {
            "allowed_origins": None if origins is None else origins.split(),
            "merchant": changes.merchant_name,
            "expires_at": None if ends is None else moment(ends),
            "payment": _payment(changes.payment),
            "voids": voids or None,
        }
        return self._event(row, row.now, "updated", details)

    def waived(self, row: SessionRow, payment: Payment | None, proof: str | None, by: str) -> Event:
        """The challenge was lifted, for one payment or for all, by a caller of this subject."""
        details = {"payment": _payment(payment), "proof": proof, "by": by}
        return self._event(row, row.now, "waived", details)

    def closed(self, row: SessionRow, state: str) -> Event:
        """The session was ended by its owner, `completed` or `expired`."""
        return self._event(row, row.now, "closed", {"state": state})

    def erased(self, row: SessionRow, *, is_fallback: bool) -> Event:
        """The destination was erased, or that of the fallback alone."""
        details = {"challenge_id": row.challenge_id, "fallback": is_fallback or None}
        return self._event(row, row.now, "erased", details)

    def _event(
        self,
        of: NewSession | SessionRow,
        at: int,
        name: str,
        details: Mapping[str, Any],
        personal: Mapping[str, str | None] | None = None,
    ) -> Event:
        fields = {name: value for name, value in details.items() if value is not None}
        fields |= {"event": name, "at": moment(at)}
        salted = {
            name: {"salt": secrets.token_hex(_SALT_BYTES), "value": value}
            for name, value in (personal or {}).items()
            if value
        }
        fields |= {f"{name}_sha256": commitment(**one) for name, one in salted.items()}
        before = of.chain if isinstance(of, SessionRow) else ""
        text, chain = Chain.parse(before, of.session_id).append(self._key, fields)
        beside = orjson.dumps(salted).decode() if salted else None
        return Event(before, str(chain), of.account_uid, chain.length, text, beside, None, at)


def unchanged(row: SessionRow) -> Event:
    """Returns what stands for no event."""
    return Event(row.chain, row.chain, row.account_uid, 0, None, None, None, 0)


def _payment(payment: Payment | None) -> dict[str, Any] | None:
    return None if payment is None else payment._asdict()
