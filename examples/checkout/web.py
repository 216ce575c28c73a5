"""The shop over HTTP: its page, and what the page asks of the shop.

| request | answer |
|---|---|
| `GET /` and the page's files | the page |
| `GET /config` | where the REST API is, the payment, the resend window |
| `POST /sessions` `{"scenario": …}` | 201, `{"credential": …}` of a new session |
| `GET /sale` | `{"challenge": …, "other_way": …, "card": …, "outcome": …, "evidence": …}` |
| the address in `evidence`, with `?zone=…` | a page of what happened, in that time zone |
| `POST /other-way` | `{"challenge": …}`, the one that takes the other's place |
| `POST /pay` `{"code": …}`, `{"token": …}` or neither; more below | `{"outcome": …}` |
| `POST /widget` `{"solved": …}` | `{"token": …}`, as a captcha's widget gives one to the page |
| `GET /messages/sms`, `GET /messages/email` | `{"recipient": …, "messages": […]}` of the session |

All but the page, `/config`, `/sessions` and the evidence take the session's credential as a bearer.
The last two, and the scenarios, are there for the demonstration only. `POST /pay` may also have the
`type` of challenge that is responded to, another `card`, and a `request_id` for repeats. Every
refusal is an Error object, the same as the REST API's. Sending the code is not here: that the page
asks of the REST API itself.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from govifi.challenge.client import ChallengeError

from examples.checkout.demonstration import Demonstration
from examples.checkout.merchant import PAYMENT, Merchant, Sale
from examples.checkout.refusals import Refused
from service.commands.timeline import page
from service.errors import BadSetting
from service.evidence.documents import check

_PAGE = Path(__file__).parent / "page"
_CLIENT = Path(__file__).parents[2] / "clients/browser/challenge.js"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FILES = {f"/{file.name}": file for file in (*_PAGE.iterdir(), _CLIENT) if file.suffix in _TYPES}
_CONFIRM = ("code", "token", "type", "card")
_MAX_BODY = 4096
_IDLE_SECONDS = 30
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
_EVIDENCE_POLICY = (
    _NOTHING + "style-src 'unsafe-inline'"
)  # one file, to be kept: its style is in it


class Shop(http.server.ThreadingHTTPServer):
    """The shop's web server; it listens once it is made."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        port: int,
        merchant: Merchant,
        demonstration: Demonstration,
        rest_url: str,
        resend_seconds: int,
    ) -> None:
        """Makes one.

        Args:
            port: Where it listens, on loopback; 0 for any.
            merchant: Who answers.
            demonstration: Who answers what a shop would not be asked.
            rest_url: Where browsers reach the challenge service.
            resend_seconds: The service's send window.

        Raises:
            OSError: The port is taken.
        """
        super().__init__(("127.0.0.1", port), _Handler)
        self.merchant = merchant
        self.demonstration = demonstration
        self.hosts = {f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.config = {
            "rest_url": rest_url,
            "resend_seconds": resend_seconds,
            "payment": {
                "amount_minor": PAYMENT.amount_minor,
                "currency": PAYMENT.currency,
                "payee": PAYMENT.payee,
            },
        }
        self.headers = {
            # Nothing inline, nothing from elsewhere, nobody's frame.
            "content-security-policy": (
                f"{_NOTHING}script-src 'self'; style-src 'self'; img-src 'self'; "
                f"connect-src 'self' {rest_url}; require-trusted-types-for 'script'"
            ),
            "cache-control": "no-store",
            "cross-origin-opener-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    def server_bind(self) -> None:
        """Binds without looking up this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what went wrong, unless it is only that a browser has gone away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Shop
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the service's own lines, and the messages, are what is to be seen

    def _respond(self) -> None:
        path = self.path.partition("?")[0]
        file = _FILES.get("/index.html" if path == "/" else path)
        try:
            body = self._body()
            if self.headers["host"] not in self.server.hosts:  # a name that was rebound to us
                raise _not_found()
            if file is not None and self.command == "GET":
                self._write(200, f"{_TYPES[file.suffix]}; charset=utf-8", file.read_bytes())
            elif path.startswith("/evidence/") and self.command == "GET":
                content = self._evidence(path.removeprefix("/evidence/"))
                self._write(200, "text/html; charset=utf-8", content, _EVIDENCE_POLICY)
            else:
                status = 201 if path == "/sessions" else 200
                self._write_json(status, self._answer(f"{self.command} {path}", body))
        except ChallengeError as error:
            refused = Refused.by_service(error)
            self._write_json(refused.status, refused.body)
        except Refused as refused:
            self._write_json(refused.status, refused.body)

    def _answer(self, request: str, body: dict[str, Any]) -> Any:
        merchant, demonstration = self.server.merchant, self.server.demonstration
        match request:
            case "GET /config":
                return self.server.config
            case "POST /sessions":
                scenario = body.get("scenario", "")
                return {"credential": demonstration.open(scenario, self._origin()).credential}
            case "GET /sale":
                return merchant.shown(self._sale())
            case "POST /other-way":
                return {"challenge": merchant.use_fallback(self._sale())}
            case "POST /pay":
                confirm = {name: str(body[name]) for name in _CONFIRM if name in body}
                confirm |= {"request_id": str(body.get("request_id", "")) or uuid.uuid4().hex}
                payer = self.client_address[0]
                return {"outcome": merchant.pay(self._sale(), remote_ip=payer, **confirm)}
            case "POST /widget":
                solved = str(body.get("solved", ""))
                return {"token": demonstration.solve(self._sale(), self._origin(), solved)}
            case "GET /messages/sms" | "GET /messages/email":
                recipient = self._sale().destinations.get(request.rpartition("/")[2], "")
                return {"recipient": recipient, "messages": demonstration.messages(recipient)}
        raise _not_found()

    def _evidence(self, key: str) -> bytes:
        (zone,) = parse_qs(urlsplit(self.path).query).get("zone", ["UTC"])
        document = self.server.merchant.evidence(key)
        try:
            return page(check(document), None if zone == "UTC" else zone).encode()
        except BadSetting:
            raise _malformed() from None

    def _origin(self) -> str:
        return f"http://{self.headers['host']}"

    def _sale(self) -> Sale:
        return self.server.merchant.sale_of(
            self.headers.get("authorization", "").removeprefix("Bearer ")
        )

    def _body(self) -> dict[str, Any]:
        """Reads a JSON object; its media type keeps other sites' forms away."""
        length = self.headers.get("content-length", "0")
        # One that is a little too long is read, or a client that still sends might not hear why.
        is_short = length.isdecimal() and len(length) <= 5
        if not is_short or "transfer-encoding" in self.headers:
            self.close_connection = True  # what was not read would be taken for the next request
            raise _malformed()
        content = self.rfile.read(int(length))
        if self.command == "GET" and not content:
            return {}
        if self.headers.get_content_type() != "application/json" or len(content) > _MAX_BODY:
            raise _malformed()
        try:
            body = json.loads(content)
        except ValueError:
            raise _malformed() from None
        if not isinstance(body, dict):
            raise _malformed()
        return body

    def _write_json(self, status: int, answer: Any) -> None:
        self._write(status, "application/json", json.dumps(answer).encode())

    def _write(self, status: int, kind: str, content: bytes, policy: str = "") -> None:
        self.send_response(status)
        headers = {"content-type": kind, "content-length": str(len(content))} | self.server.headers
        if policy:
            headers["content-security-policy"] = policy
        if self.close_connection:
            headers["connection"] = "close"  # or a client might ask the next here
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _malformed() -> Refused:
    text = "The request is malformed."
    return Refused.because(HTTPStatus.BAD_REQUEST, "validation_error", text, recoverable=False)


def _not_found() -> Refused:
    text = "There is no such page."
    return Refused.because(HTTPStatus.NOT_FOUND, "validation_error", text, recoverable=False)
