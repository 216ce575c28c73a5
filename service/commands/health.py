"""What a server says of its health, by gRPC's health service."""

from __future__ import annotations

from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.commands.client import default_target
from service.errors import CannotProceed

_SECONDS = 3.0


def require_serving(data: Path, target: str | None, name: str) -> None:
    """Asks a server whether it serves.

    Args:
        data: The data directory of `challenge dev`.
        target: `host:port` or `unix:PATH`; None for `client.default_target`.
        name: What is asked about; the server as a whole if empty.

    Raises:
        CannotProceed: It does not, or does not answer.
    """
    address = target or default_target(data)
    request = health_pb2.HealthCheckRequest(service=name)
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise CannotProceed(f"{address} knows no service {name}") from None
            raise CannotProceed(f"{address} does not answer: {error.code().name}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise CannotProceed(f"{address} says {status}")
