"""Who is calling: session credentials of browsers, JWTs of internal services."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jwt

from service.api.bad_fields import BadFields
from service.api.jwks import KeySet
from service.api.metadata import Metadata, only, page_origin
from service.errors import (
    InsufficientScope,
    MissingCredential,
    OriginNotAllowed,
    SessionNotFound,
    TokenInvalid,
    TokenScopeMissing,
)
from service.storage.rows import SessionRow
from service.storage.store import Store
from service.telemetry import logs

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)", re.ASCII)
_CREDENTIAL = re.compile(r"cs_[A-Za-z0-9]{1,125}_secret_[A-Za-z0-9_-]{22,128}", re.ASCII)
_NO_SESSION = bytes(32)
SCOPE = "challenge:admin"
"""What internal tokens must have in `scope` or `scp`: a string of words, or a list."""
SCOPE_ALL = "challenge:admin:all"
"""What a token without `account_uid` must have too: it reaches every account."""
_LONGEST_SUBJECT = 128
ALGORITHMS = ("ES256", "EdDSA", "RS256")
"""Signatures that are accepted (ASVS 9.1.2: an allowlist, nothing symmetric)."""


class BrowserAccess:
    """Lets a browser's call through to the one session that its credential is for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, session_id: str, metadata: Metadata) -> SessionRow:
        """Reads the session, if the caller may have it.

        An unknown session and another session's credential are refused alike, in the same time.

        Raises:
            MissingCredential: No session credential.
            SessionNotFound: Unknown, or not this credential's.
            InsufficientScope: The credential is for something else.
            OriginNotAllowed: The page may not use this session.
        """
        credential = _bearer(metadata)
        if credential is None or not _CREDENTIAL.fullmatch(credential):
            raise MissingCredential
        row = await self._store.read(session_id)
        presented = hashlib.sha256(credential.encode()).digest()
        expected = _NO_SESSION if row is None else row.secret_sha256
        if not hmac.compare_digest(presented, expected) or row is None:
            raise SessionNotFound
        if row.scope != "payment":
            raise InsufficientScope
        origin = page_origin(metadata)
        if origin is not None and origin not in row.allowed_origins.split():
            raise OriginNotAllowed
        return row


class Caller(NamedTuple):
    """An internal service.

    Attributes:
        subject: Who it is, for logs and evidence: printable, at most 128 characters.
        account_uid: The one account that it may touch; None for any.
    """

    subject: str
    account_uid: str | None


class TokenVerifier:
    """Checks internal callers' tokens: signature, issuer, audience, times and scope."""

    def __init__(self, keys: KeySet, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    async def verify(self, metadata: Metadata) -> Caller:
        """Identifies the caller.

        Raises:
            TokenInvalid: No token, or one that does not hold.
            TokenScopeMissing: It lacks the scope.
        """
        token = _bearer(metadata)
        if token is None:
            raise TokenInvalid("no bearer")
        try:
            key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=5,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except Exception as error:  # PyJWT lets through what odd tokens make Python raise
            raise TokenInvalid(type(error).__name__) from None
        scopes = _scopes(claims)
        if SCOPE not in scopes:
            raise TokenScopeMissing
        account_uid = claims.get("account_uid")
        if "account_uid" in claims and not isinstance(account_uid, str):
            raise TokenInvalid("account_uid is not a string")  # null is not "any"
        if account_uid is None and SCOPE_ALL not in scopes:
            raise TokenScopeMissing
        if not (claims["sub"] and claims["sub"].isprintable()):  # no surrogate can be logged
            raise TokenInvalid("sub is not printable text")
        return Caller(claims["sub"][:_LONGEST_SUBJECT], account_uid)


def _scopes(claims: Mapping[str, Any]) -> Sequence[str]:
    found = claims.get("scope", claims.get("scp", ""))
    if isinstance(found, str):
        return found.split()
    return [scope for scope in found if isinstance(scope, str)] if isinstance(found, list) else ()


class InternalAccess:
    """Lets an internal service's call through to the sessions that its token reaches."""

    def __init__(self, store: Store, tokens: TokenVerifier) -> None:
        self._store = store
        self._tokens = tokens

    async def caller(self, metadata: Metadata) -> Caller:
        """Identifies the caller, and names it in this call's log lines.

        Raises:
            TokenInvalid, TokenScopeMissing: See `TokenVerifier.verify`.
        """
        caller = await self._tokens.verify(metadata)
        logs.bind(caller=caller.subject)
        return caller

    async def admit(self, session_id: str, metadata: Metadata, bad: BadFields) -> SessionRow:
        """Reads the session, if the request is well-formed and the token reaches its account.

        Args:
            session_id: As the caller gave it.
            metadata: What the call came with.
            bad: What is wrong with the request; only a caller with a valid token is told.

        Raises:
            TokenInvalid, TokenScopeMissing: See `TokenVerifier.verify`.
            InvalidRequest: A field is malformed.
            SessionNotFound: Unknown, or another account's.
        """
        return await self.session(session_id, await self.caller(metadata), bad)

    async def session(self, session_id: str, caller: Caller, bad: BadFields) -> SessionRow:
        """Reads the session as `admit` does, for a caller that is known."""
        bad.refuse()
        row = await self._store.read(session_id)
        if row is None or caller.account_uid not in (None, row.account_uid):
            raise SessionNotFound
        return row


def _bearer(metadata: Metadata) -> str | None:
    match = _BEARER.fullmatch(only(metadata, "authorization") or "")
    return match[1] if match else None
