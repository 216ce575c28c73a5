"""The clients of `clients/`, against the real service behind the real Envoy."""
