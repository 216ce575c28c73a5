"""The calls that commands make to a running server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import jwt
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import error_pb2
from grpc_status import rpc_status

from service import settings
from service.api.credentials import SCOPE, SCOPE_ALL
from service.commands.directory import DEVELOPMENT_ISSUER, running, signing_key
from service.errors import BadSetting, CannotProceed
from service.storage.rows import CAPTCHA_TYPES, CODE_TYPES

CHALLENGES = (*CODE_TYPES, *CAPTCHA_TYPES)
"""Options of `open-session` that choose a challenge."""
_TOKEN = re.compile(r"[!-~]{1,8192}")
_SECONDS = 10.0


class Opened(NamedTuple):
    """A session that was opened.

    Attributes:
        session_id: Its id.
        client_secret: Its credential.
        rest_url: Where browsers reach it.
    """

    session_id: str
    client_secret: str
    rest_url: str

    def as_json(self) -> str:
        """Returns one JSON object with `session_id` and `client_secret`."""
        return json.dumps({"session_id": self.session_id, "client_secret": self.client_secret})

    def as_text(self) -> str:
        """Returns lines to read, the last one a command to paste."""
        return (
            f"session  {self.session_id}\n"
            f"secret   {self.client_secret}\n\n"
            f"curl -i -X POST -H 'authorization: Bearer {self.client_secret}' "
            f"{self.rest_url}/v1/hosted-sessions/{self.session_id}/challenge/send"
        )


def mint_token(data: Path, *, expires_in: int = 300, account_uid: str | None = None) -> str:
    """Signs a token for the internal API with development's key.

    Args:
        data: The directory of `challenge dev`.
        expires_in: Seconds.
        account_uid: The one account that it reaches; None for every account.

    Raises:
        CannotProceed: There is no such key.
    """
    now = int(time.time())
    claims = {
        "iss": DEVELOPMENT_ISSUER, "aud": "challenge-service", "sub": "challenge-cli",
        "iat": now, "nbf": now, "exp": now + expires_in,
    }  # fmt: skip
    if account_uid is None:
        claims["scope"] = f"{SCOPE} {SCOPE_ALL}"
    else:
        claims |= {"scope": SCOPE, "account_uid": account_uid}
    try:
        return jwt.encode(
            claims, signing_key(data), algorithm="ES256", headers={"kid": "development"}
        )
    except (jwt.PyJWTError, TypeError, ValueError):
        raise BadSetting("--data-dir", f"{data}/signing-key.pem is corrupt; remove it") from None


def open_session(data: Path, target: str | None, **options: Any) -> Opened:
    """Registers a session with a fresh id and secret, and issues its challenge if one is chosen.

    Raises:
        CannotProceed: The server cannot be reached or refuses.
    """
    session_id = f"cs_{secrets.token_hex(12)}"
    secret = f"{session_id}_secret_{secrets.token_urlsafe(24)}"
    request = admin_pb2.OpenSessionRequest(
        session_id=session_id,
        account_uid=options["account"],
        client_secret_sha256=hashlib.sha256(secret.encode()).digest(),
        scope=admin_pb2.OpenSessionRequest.Scope.Value(f"SCOPE_{options['scope'].upper()}"),
        allowed_origins=options["origins"],
        locale=options["locale"],
        merchant_display_name=options["merchant"],
        expires_in=Duration(seconds=options["expires_in"]) if options["expires_in"] else None,
    )
    call(data, target, "OpenSession", request)
    issue = admin_pb2.IssueChallengeRequest(session_id=session_id)
    if options["sms"]:
        issue.sms.phone_number = options["sms"]
    elif options["email"]:
        issue.email.address = options["email"]
    elif options["hcaptcha"]:
        issue.hcaptcha.site_key = options["hcaptcha"]
    elif options["turnstile"]:
        issue.turnstile.site_key = options["turnstile"]
    if issue.WhichOneof("method"):
        call(data, target, "IssueChallenge", issue)
    return Opened(session_id, secret, (options["rest_url"] or _rest_url(data, target)).rstrip("/"))


def _rest_url(data: Path, target: str | None) -> str:
    """Returns where browsers reach the server; of one that `--target` names nothing is known."""
    if target:
        return "https://HOST"
    port = running(data).get("rest_port", os.environ.get("REST_PORT", "8080"))
    return f"http://127.0.0.1:{port}"


def verify(data: Path, target: str | None, session_id: str, code: str) -> str:
    """Checks a code.

    Returns:
        Why the payment may go on: `satisfied`, `already satisfied` or `not required`.

    Raises:
        CannotProceed: The code is not accepted; the text says why.
    """
    request = admin_pb2.VerifyChallengeRequest(session_id=session_id, code=code)
    outcome = call(data, target, "VerifyChallenge", request).outcome
    name = admin_pb2.VerifyChallengeResponse.Outcome.Name(outcome)
    return name.removeprefix("OUTCOME_").lower().replace("_", " ")


def attempts(data: Path, target: str | None, session_id: str) -> Iterator[str]:
    """Yields a line per attempt, the oldest first.

    Raises:
        CannotProceed: The server cannot be reached or refuses.
    """
    request = admin_pb2.ListAttemptsRequest(session_id=session_id)
    while True:
        page = call(data, target, "ListAttempts", request)
        for attempt in page.attempts:
            outcome = admin_pb2.Attempt.Outcome.Name(attempt.outcome).removeprefix("OUTCOME_")
            about = attempt.provider_message_id or attempt.reason
            at = attempt.start_time.ToJsonString()
            yield f"{at}  try {attempt.dispatch_try}  {outcome:13}  {attempt.channel}  {about}"
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def call(data: Path, target: str | None, rpc: str, request: Any) -> Any:
    """Calls an internal rpc.

    Raises:
        CannotProceed: The server cannot be reached or refuses.
    """
    token = settings.variables().get("CHALLENGE_TOKEN") or mint_token(data)
    if not _TOKEN.fullmatch(token):
        raise BadSetting("CHALLENGE_TOKEN", "must be a token of printable ASCII characters")
    address = target or default_target(data)
    with grpc.insecure_channel(address) as channel:
        stub = admin_grpc.ChallengeAdminServiceStub(channel)
        try:
            return getattr(stub, rpc)(
                request, timeout=_SECONDS, metadata=(("authorization", f"Bearer {token}"),)
            )
        except grpc.RpcError as error:
            raise CannotProceed(_explain(error, rpc, address)) from None


def _explain(error: Any, rpc: str, address: str) -> str:
    """Writes all that the server says of an error in one line."""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
        return f"no server answers at {address}; start one with: make run"
    code, texts = "", [str(error.details())]
    status: Any = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(fault := error_pb2.Error()):
            code = f" ({error_pb2.Error.Code.Name(fault.code)})"
        elif detail.Unpack(bad := error_details_pb2.BadRequest()):
            texts += (f"{one.field}: {one.description}." for one in bad.field_violations)
        elif detail.Unpack(retry := error_details_pb2.RetryInfo()):
            texts.append(f"Try again in {retry.retry_delay.seconds} s.")
        elif detail.Unpack(info := error_details_pb2.ErrorInfo()):
            texts += (f"{name}: {value}." for name, value in sorted(info.metadata.items()))
    return f"{rpc}: {error.code().name}{code}: {' '.join(texts)}"


def default_target(data: Path) -> str:
    """Finds where to call: `challenge dev`'s server, or the one that the settings name.

    Raises:
        BadSetting: The address, or the file that `challenge dev` wrote, is malformed.
    """
    if target := running(data).get("grpc_target"):
        return target
    address = settings.variables().get("CHALLENGE_GRPC_LISTEN", "127.0.0.1:50051")
    if not address.isprintable():
        raise BadSetting("CHALLENGE_GRPC_LISTEN", "must be host:port")
    return address
