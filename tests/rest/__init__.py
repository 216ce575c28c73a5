"""The contract as browsers meet it: the real Envoy in front of the real service."""
