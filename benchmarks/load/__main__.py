"""The load process: reads jobs as lines of JSON, answers each with a line."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import grpc
import uvloop
from govifi.challenge.v1 import challenge_admin_pb2 as admin_pb2
from govifi.challenge.v1 import challenge_admin_pb2_grpc as admin_grpc
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from benchmarks.load import h2load
from benchmarks.load.pacing import Call, closed_loop, open_loop
from benchmarks.load.rest import RestClient

_ORIGIN = "https://shop.example"
_SECONDS = 20.0


class Clients:
    """One client for each server and protocol, kept between jobs."""

    @functools.cache  # noqa: B019  (lives as long as the process)
    def channel(self, target: str) -> grpc.aio.Channel:
        """Returns the connection to a gRPC server."""
        return grpc.aio.insecure_channel(target)

    @functools.cache  # noqa: B019
    def rest(self, target: str) -> RestClient:
        """Returns the client of a REST server."""
        return RestClient(target)

    @functools.cache  # noqa: B019
    def public(self, target: str) -> challenge_pb2_grpc.ChallengeServiceAsyncStub:
        """Returns the stub of ChallengeService."""
        return challenge_pb2_grpc.ChallengeServiceStub(self.channel(target))

    def calls(self, job: dict[str, Any]) -> list[Call]:
        """Makes the calls of a job: one for each pair of a session id and its proof."""
        make = {"send": self._sends, "verify": self._verifies, "rest": self._posts}[job["kind"]]
        return make(job["target"], job["pairs"], job.get("token", ""))

    def _sends(self, target: str, pairs: Sequence[Sequence[str]], _: str) -> list[Call]:
        async def call(session_id: str, secret: str) -> str | None:
            answer = await self.send(target, session_id, secret)
            return None if answer.code_sent else "code not sent"

        return [functools.partial(call, *pair) for pair in pairs]

    async def send(self, target: str, session_id: str, secret: str) -> challenge_pb2.Challenge:
        """Makes one Send."""
        return await self.public(target).Send(
            challenge_pb2.SendRequest(session_id=session_id),
            metadata=_headers(secret),
            timeout=_SECONDS,
        )

    def _verifies(self, target: str, pairs: Sequence[Sequence[str]], token: str) -> list[Call]:
        verify = admin_grpc.ChallengeAdminServiceStub(self.channel(target)).VerifyChallenge

        async def call(session_id: str, code: str) -> str | None:
            answer = await verify(
                admin_pb2.VerifyChallengeRequest(session_id=session_id, code=code),
                metadata=(("authorization", f"Bearer {token}"),),
                timeout=_SECONDS,
            )
            return None if answer.HasField("satisfy_time") else "not satisfied"

        return [functools.partial(call, *pair) for pair in pairs]

    def _posts(self, target: str, pairs: Sequence[Sequence[str]], _: str) -> list[Call]:
        self.rest(target).forget()

        async def call(session_id: str, secret: str) -> str | None:
            status, body = await self.post(target, session_id, secret)
            if status != 200:
                return f"HTTP {status}"
            return None if b"delivery_hint" in body else "no challenge"

        return [functools.partial(call, *pair) for pair in pairs]

    async def post(self, target: str, session_id: str, secret: str) -> tuple[int, bytes]:
        """Makes one Send as REST; returns status and body."""
        headers = "".join(f"{key}: {value}\r\n" for key, value in _headers(secret))
        async with asyncio.timeout(_SECONDS):
            return await self.rest(target).post(_path(session_id), headers)


def _headers(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"), ("origin", _ORIGIN))


def _path(session_id: str) -> str:
    return f"/v1/hosted-sessions/{session_id}/challenge/send"


async def _repeat(clients: Clients, job: dict[str, Any]) -> dict[str, Any]:
    """Has h2load make all the calls of a job with the first of its sessions."""
    (session_id, secret), target = job["pairs"][0], job["target"]
    calls, at_once, headers = len(job["pairs"]), job["concurrency"], _headers(secret)
    if job["kind"] == "rest":
        status, body = await clients.post(target, session_id, secret)
        assert status == 200 and b"delivery_hint" in body
        return await h2load.post(target, _path(session_id), headers, calls, at_once, body)
    answer = await clients.send(target, session_id, secret)
    assert answer.code_sent
    return await h2load.send(target, session_id, headers, calls, at_once, answer)


async def _work() -> None:
    clients, loop = Clients(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        if job["per_second"]:
            summary = await open_loop(clients.calls(job), job["per_second"])
        elif h2load.PROGRAM and job["repeats"]:
            summary = await _repeat(clients, job)
        else:
            summary = await closed_loop(clients.calls(job), job["concurrency"])
        print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    uvloop.run(_work())
