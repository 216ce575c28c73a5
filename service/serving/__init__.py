"""The processes that serve, from their start until they have drained; no rules, no gRPC methods."""
