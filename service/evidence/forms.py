"""The form of an export: every key that it may have, and what may stand there.

A key that is not here is refused, so that nothing rides along with what the chain and the signature
vouch for. A key that an event is given later is optional, for older events do not have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.evidence.events import FallbackReason

_MOMENT = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_SHOWN = 200


def _moment(text: str) -> str:
    if not _MOMENT.fullmatch(text):
        raise ValueError("must be a time as 2026-01-01T00:00:00.000Z")
    datetime.fromisoformat(text.removesuffix("Z"))
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Base64 = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{43}$")]
Number = Annotated[int, Field(ge=0, lt=2**63)]
SessionId = Annotated[str, Field(pattern="^cs_[A-Za-z0-9]{1,125}$")]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Salted(_Form):
    """What is personal, with what keeps its hash from being guessed."""

    salt: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    value: str


class Payment(_Form):
    """What a challenge is bound to, or a response is for."""

    amount_minor: Number
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    payee: str


class _Event(_Form):
    seq: Number
    previous: Hash
    at: Moment


class Opened(_Event):
    """A session was registered."""

    event: Literal["opened"]
    session_id: SessionId
    account_uid: str
    scope: str
    allowed_origins: list[str]
    merchant: str
    challenge_expected: bool
    expires_at: Moment


class Challenged(_Event):
    """A challenge was issued, or a fallback taken."""

    event: Literal["challenged"]
    challenge_id: str
    type: str
    fallback: Annotated[FallbackReason, Field(strict=False)] | None = None
    site_key: str | None = None
    payment: Payment | None = None
    hint_sha256: Hash | None = None


class Tried(_Event):
    """A try to deliver a code ended."""

    event: Literal["tried"]
    challenge_id: str
    number: Number = Field(alias="try")
    claimed_at: Moment
    page_origin: str | None = None
    channel: str | None = None
    message_id: str | None = None
    outcome: str | None = None
    dispatch: str
    reason: str | None = None
    refused: Literal[True] | None = None
    code_expires_at: Moment


class _Answered(_Event):
    event: Literal["answered"]
    challenge_id: str
    reason: str | None = None
    payment: Payment | None = None
    wrong_code: Number
    wrong_total: Number
    remote_ip_sha256: Hash | None = None


class Right(_Answered):
    """A response was accepted."""

    verdict: Literal["right"]
    until: Moment
    confirms_left: Number | None = None


class Wrong(_Answered):
    """A response was refused, and counted."""

    verdict: Literal["wrong"]
    answers_left: Number


class Confirmed(_Event):
    """Another payment went on by the proof before."""

    event: Literal["confirmed"]
    challenge_id: str
    payment: Payment | None = None
    confirms_left: Number
    remote_ip_sha256: Hash | None = None


class Updated(_Event):
    """The session was changed by its owner."""

    event: Literal["updated"]
    allowed_origins: list[str] | None = None
    merchant: str | None = None
    expires_at: Moment | None = None
    payment: Payment | None = None
    voids: Literal[True] | None = None


class Waived(_Event):
    """The challenge was lifted."""

    event: Literal["waived"]
    payment: Payment | None = None
    proof: str | None = None
    by: str


class Closed(_Event):
    """The session was ended by its owner."""

    event: Literal["closed"]
    state: str


class Erased(_Event):
    """The destination was erased, or that of the fallback alone."""

    event: Literal["erased"]
    challenge_id: str | None = None
    fallback: Literal[True] | None = None


Answered = Annotated[Right | Wrong, Field(discriminator="verdict")]
Event = Annotated[
    Opened | Challenged | Tried | Answered | Confirmed | Updated | Waived | Closed | Erased,
    Field(discriminator="event"),
]


class Jwk(_Form):
    """The public key, as RFC 8037 writes it."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Base64
    kid: Base64
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class Jwks(_Form):
    """A key set of one."""

    keys: Annotated[list[Jwk], Field(min_length=1, max_length=1)]


class Document(_Form):
    """An export."""

    format: Literal["challenge-evidence-1"]
    session_id: SessionId
    events: Annotated[list[Event], Field(min_length=1)]
    personal: dict[str, dict[str, Salted]]
    head: Hash
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
    jwks: Jwks
    thumbprint: Base64


class Claims(_Form):
    """What is signed."""

    session_id: SessionId
    events: Number
    head: Hash
    personal: Hash
    at: Moment


def read(text: str | bytes) -> Any:
    """Reads an export as JSON.

    Raises:
        ValueError: It is none, or has not the form; the text says where, in printable ASCII.
    """
    try:
        document = json.loads(
            text, object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"it is no such document: {_plain(str(error))}") from None
    require(Document, document)
    return document


def require(form: type[BaseModel], value: object) -> None:
    """Checks that a value has a form.

    Raises:
        ValueError: It has not; the text says where, in printable ASCII.
    """
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or form.__name__
        raise ValueError(_plain(f"{where}: {first['msg']}")) from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object whose keys each stand once, for readers differ in which of two they see."""
    made = dict(pairs)
    if len(made) < len(pairs) or None in made.values():
        raise ValueError("a key stands twice, or for null")
    return made


def _refuse(number: str) -> NoReturn:
    raise ValueError("a number is not whole")


def _plain(text: str) -> str:
    return ascii(text)[1:-1][:_SHOWN]
