"""Reflection, v1 and v1alpha, for tools such as grpcurl and ghz; in development only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

_V1ALPHA = reflection.SERVICE_NAME
_V1 = _V1ALPHA.replace("v1alpha", "v1")


class _Pool:
    """The descriptors, by methods too: the pool itself finds a file by its services only."""

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802  (the pool's name)
        """Finds the file that declares a symbol, or the service that has such a method.

        Raises:
            KeyError: There is none.
        """
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return pool.FindMethodByName(symbol).containing_service.file


def add(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Has a server tell of these services."""
    servicer = reflection.aio.ReflectionServicer((*services, _V1, _V1ALPHA), pool=_Pool())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # The library has v1alpha alone; the two differ in name only.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    v1 = grpc.method_handlers_generic_handler(_V1, {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((v1,))
