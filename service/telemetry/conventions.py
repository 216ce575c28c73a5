"""OpenTelemetry's stable conventions for RPC, of semconv 1.45: what a call says of itself."""

from __future__ import annotations

FAULTS = {
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip
"""What the conventions for gRPC count as errors of the server."""


def call_attributes(method: str, code: str) -> dict[str, str]:
    """Returns what the conventions have a call say of itself.

    Args:
        method: `package.Service/Method`, or `_OTHER`.
        code: The name of its gRPC status.
    """
    attributes = {
        "rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code,
    }  # fmt: skip
    return {**attributes, "error.type": code} if code in FAULTS else attributes
