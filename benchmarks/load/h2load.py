"""h2load, where it is installed, for the calls that repeat.

It sends the same bytes again and again, so it can neither use up sessions nor keep a rate. wrk is
not used: it stops after whole seconds, not after a number of calls.

Calls that failed are those whose answers are missing from the bytes received, for every answer is
like the first: h2load looks at no trailers. Over REST the status tells, too.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

from govifi.challenge.v1 import challenge_pb2

PROGRAM = shutil.which("h2load")
_METHOD = "/govifi.challenge.v1.ChallengeService/Send"
_SECONDS = 120.0

Headers = Sequence[tuple[str, str]]


async def send(
    target: str,
    session_id: str,
    headers: Headers,
    calls: int,
    concurrency: int,
    answer: challenge_pb2.Challenge,
) -> dict[str, Any]:
    """Makes one Send many times; returns what `pacing.closed_loop` does, but no latencies."""
    with tempfile.NamedTemporaryFile() as body:
        request = challenge_pb2.SendRequest(session_id=session_id)
        body.write(_framed(request.SerializeToString()))
        body.flush()
        said = await _run(
            f"http://{target}{_METHOD}",
            (("content-type", "application/grpc"), ("te", "trailers"), *headers),
            calls, "--clients=1", f"--max-concurrent-streams={concurrency}", f"--data={body.name}",
        )  # fmt: skip
    return _summary(said, _missing(said, calls, _framed(answer.SerializeToString())))


async def post(
    target: str, path: str, headers: Headers, calls: int, concurrency: int, answer: bytes
) -> dict[str, Any]:
    """Makes one POST without a body many times, over HTTP/1.1; returns what `send` does."""
    said = await _run(
        f"http://{target}{path}", ((":method", "POST"), ("content-length", "0"), *headers),
        calls, "--h1", f"--clients={concurrency}",
    )  # fmt: skip
    refused = calls - round(_figure(r"status codes: (\d+) 2xx", said))
    return _summary(said, max(refused, _missing(said, calls, answer)))


async def _run(url: str, headers: Headers, calls: int, *options: str) -> str:
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, f"--requests={calls}", *options,
        *(f"--header={key}: {value}" for key, value in headers), url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            return (await process.communicate())[0].decode()
    except TimeoutError:
        process.kill()
        raise


def _missing(said: str, calls: int, answer: bytes) -> int:
    """Counts the answers that the bytes received have too few, or too many."""
    return abs(round(calls - _figure(r"\((\d+)\) data", said) / len(answer)))


def _summary(said: str, failed: int) -> dict[str, Any]:
    return {
        "per_s": _figure(r"finished in \S+, ([\d.]+) req/s", said),
        "latencies_ms": [],
        "errors": {"no answer, by h2load": failed} if failed else {},
    }


def _framed(message: bytes) -> bytes:
    """Puts gRPC's prefix in front: not compressed, and how long."""
    return struct.pack(">?I", False, len(message)) + message


def _figure(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if found is None:
        raise RuntimeError(f"h2load said: {said}")
    return float(found[1])
