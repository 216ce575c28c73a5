"""h2load, where it is installed, for the calls that repeat.

It sends the same bytes again and again, so it can neither use up sessions nor keep a rate. It looks
at no trailers: calls that failed are those whose answers are missing from the bytes received.
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


async def repeat(
    channel: grpc.aio.Channel,
    target: str,
    session_id: str,
    headers: Sequence[tuple[str, str]],
    calls: int,
    concurrency: int,
) -> dict[str, Any]:
    """Makes one Send many times; gives what `pacing.closed_loop` does, but no latencies."""
    assert PROGRAM is not None
    request = challenge_pb2.SendRequest(session_id=session_id)
    stub = challenge_pb2_grpc.ChallengeServiceStub(channel)
    answer = await stub.Send(request, metadata=headers)
    with tempfile.NamedTemporaryFile() as body:
        body.write(_framed(request.SerializeToString()))
        body.flush()
        fields = (("content-type", "application/grpc"), ("te", "trailers"), *headers)
        process = await asyncio.create_subprocess_exec(
            PROGRAM, f"--requests={calls}", "--clients=1",
            f"--max-concurrent-streams={concurrency}",
            f"--data={body.name}", *(f"--header={key}: {value}" for key, value in fields),
            f"http://{target}{_METHOD}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            said = (await process.communicate())[0].decode()
    answered = _figure(r"\((\d+)\) data", said) / len(_framed(answer.SerializeToString()))
    failed = round(calls - answered)
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
