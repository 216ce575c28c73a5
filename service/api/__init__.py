"""The gRPC boundary: who calls, what they ask, what they are told; no rule on a session."""
