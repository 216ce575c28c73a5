"""The gRPC boundary: who calls, what they ask, what they are told; nothing is decided here."""
