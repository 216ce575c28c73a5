"""The floor: grpc.aio on uvloop that answers Send with a constant."""

from __future__ import annotations

from typing import Any

import grpc
import uvloop
from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc


class Echo(challenge_pb2_grpc.ChallengeServiceServicer):
    """Does nothing."""

    async def Send(self, request: Any, context: Any) -> challenge_pb2.Challenge:  # noqa: D102, N802
        return challenge_pb2.Challenge(
            type=challenge_pb2.Challenge.sms, delivery_hint="--0123", code_sent=True
        )


async def _serve() -> None:
    server = grpc.aio.server()
    challenge_pb2_grpc.add_ChallengeServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
