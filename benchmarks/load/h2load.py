"""h2load, where it is installed, for the calls that repeat.

It sends the same bytes again and again, so it can neither use up sessions nor keep a rate. wrk is
not used: it stops after whole seconds, not after a number of calls.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

import grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

PROGRAM = shutil.which("h2load")
_METHOD = "/govifi.challenge.v1.ChallengeService/Send"
_SECONDS = 120.0

Headers = Sequence[tuple[str, str]]


async def repeat_send(
    channel: grpc.aio.Channel,
    target: str,
    session_id: str,
    headers: Headers,
    calls: int,
    concurrency: int,
) -> dict[str, Any]:
    """Makes one Send many times; gives what `pacing.closed_loop` does, but no latencies.

    h2load looks at no trailers: calls that failed are those whose answers are missing from the
    bytes received.
    """
    request = challenge_pb2.SendRequest(session_id=session_id)
    stub = challenge_pb2_grpc.ChallengeServiceStub(channel)
    answer = await stub.Send(request, metadata=headers)
    with tempfile.NamedTemporaryFile() as body:
        body.write(_framed(request.SerializeToString()))
        body.flush()
        said = await _run(
            f"http://{target}{_METHOD}",
            (("content-type", "application/grpc"), ("te", "trailers"), *headers),
            calls, "--clients=1", f"--max-concurrent-streams={concurrency}", f"--data={body.name}",
        )  # fmt: skip
    return _summary(said, calls, r"\((\d+)\) data", len(_framed(answer.SerializeToString())))


async def repeat_post(
    target: str, path: str, headers: Headers, calls: int, concurrency: int
) -> dict[str, Any]:
    """Makes one POST without a body many times, over HTTP/1.1; gives what `repeat_send` does."""
    said = await _run(
        f"http://{target}{path}", ((":method", "POST"), ("content-length", "0"), *headers),
        calls, "--h1", f"--clients={concurrency}",
    )  # fmt: skip
    return _summary(said, calls, r"status codes: (\d+) 2xx")


async def _run(url: str, headers: Headers, calls: int, *options: str) -> str:
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, f"--requests={calls}", *options,
        *(f"--header={key}: {value}" for key, value in headers), url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(_SECONDS):
        return (await process.communicate())[0].decode()


def _summary(said: str, calls: int, answered: str, each: int = 1) -> dict[str, Any]:
    """Reads h2load's report.

    Args:
        said: It.
        calls: How many there were.
        answered: Finds how much came back.
        each: How much of that one answer is.
    """
    failed = round(calls - _figure(answered, said) / each)
    return {
        "per_s": _figure(r"finished in \S+, ([\d.]+) req/s", said),
        "p50_ms": math.nan,
        "p99_ms": math.nan,
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
