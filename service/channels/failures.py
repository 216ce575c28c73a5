"""Why a connection failed, in words that logs and the ledger may hold."""

from __future__ import annotations

import os
import socket
import ssl


def why(error: BaseException) -> str:
    """Returns the root cause of an error that a client library wrapped.

    No text of a library's own: it may hold addresses, and what a server said.
    """
    cause: BaseException | None = error
    while cause is not None:
        if said := _meaning(cause):
            return said
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _meaning(error: BaseException) -> str | None:
    match error:
        # aiohttp's errors are of these classes too, and lack what these have.
        case ssl.SSLCertVerificationError(verify_message=str(message)):
            return f"certificate: {message.rstrip('.')}"
        case ssl.SSLError(reason=str(name)):
            return f"TLS: {name}"
        case ssl.SSLError():
            return None
        case socket.gaierror():
            return "host not found"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case TimeoutError():
            return "timed out"
    return None
