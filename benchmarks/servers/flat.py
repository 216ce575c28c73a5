"""What a Send that repeats cannot do without, in one flat function: no layers, no rule, no errors.

It has the service's parts: its SELECT over its connections, the checks of credential and origin, a
deadline, the request id, the metric, a line in the log; and it is scheduled as the service is.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import os
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import grpc
import orjson
import uvloop
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from service.aio.deadlines import Deadlines
from service.serving import tuning
from service.settings import Settings
from service.storage import statements
from service.storage.postgres.connections import Connections
from service.storage.postgres.hosts import Hosts
from service.storage.rows import SessionRow
from service.telemetry import metrics

_BEARER = re.compile(r"Bearer (cs_[A-Za-z0-9]{1,125}_secret_[A-Za-z0-9_-]{22,128})", re.ASCII)


class Flat(challenge_pb2_grpc.ChallengeServiceServicer):
    """Answers repeats."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._deadlines = Deadlines()

    async def Send(self, request: Any, context: Any) -> challenge_pb2.Challenge:  # noqa: D102, N802
        started = time.perf_counter()
        metadata = dict(context.invocation_metadata())
        bearer = _BEARER.fullmatch(metadata["authorization"])
        with self._deadlines.within(10):
            connection = await self._connections.take()
            try:
                (found,) = await connection.fetch(statements.READ, request.session_id)
            finally:
                self._connections.give_back(connection)
        row = SessionRow._make(found)
        presented = hashlib.sha256(bearer[1].encode()).digest() if bearer else b""
        if (
            not hmac.compare_digest(presented, row.secret_sha256)
            or metadata["origin"] not in row.allowed_origins.split()
            or row.now >= row.window_ends_at
        ):
            raise AssertionError("not a repeat")
        request_id = os.urandom(16).hex()
        context.set_trailing_metadata((("x-request-id", request_id),))
        seconds = time.perf_counter() - started
        metrics.call_duration("Send", "OK").observe(seconds)
        line = {
            "request_id": request_id, "rpc": "Send", "session_id": row.session_id, "status": "OK",
            "error": None, "ms": round(seconds * 1000, 1), "event": "call", "level": "info",
            "timestamp": datetime.now(UTC),
        }  # fmt: skip
        sys.stderr.buffer.write(orjson.dumps(line) + b"\n")
        sys.stderr.buffer.flush()
        return challenge_pb2.Challenge(
            type=challenge_pb2.Challenge.sms, delivery_hint=row.delivery_hint, code_sent=True
        )


async def _serve() -> None:
    settings = Settings(_env_file=None)
    url = settings.database_url.get_secret_value()
    connections = Connections(Hosts(url), settings.database_pool_size, prepares=True)
    server = grpc.aio.server()
    challenge_pb2_grpc.add_ChallengeServiceServicer_to_server(Flat(connections), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.freeze()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    tuning.tune()
    uvloop.run(_serve())
