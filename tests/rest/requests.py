"""Requests to the proxy, byte by byte, and what it answers by itself."""

from __future__ import annotations

from tests.rest.edge import nobody, path_of

SESSION = nobody()
PATH = path_of(SESSION.session_id)
JSON = "content-type: application/json"
LET_THROUGH = (503, "network_error", True)
MALFORMED = (400, "validation_error", False)
INVALID = (422, "validation_error", False)
UNKNOWN = (404, "validation_error", False)
WRONG_METHOD = (405, "validation_error", False)
TOO_LARGE = (413, "validation_error", False)
WRONG_TYPE = (415, "validation_error", False)


def request(
    target: str = PATH,
    *headers: str,
    method: str = "POST",
    body: bytes = b"",
    first: str = "{method} {target} HTTP/1.1",
    host: str = "host: edge",
) -> bytes:
    """Writes an HTTP/1.1 request; its bytes may be anything."""
    lines = [
        first.format(method=method, target=target),
        host,
        f"authorization: Bearer {nobody().secret}",  # each has a rate of its own
        "origin: https://shop.example",
        *headers,
        f"content-length: {len(body)}",
    ]
    text = "\r\n".join(line for line in lines if line) + "\r\n\r\n"
    return text.encode("latin-1") + body
