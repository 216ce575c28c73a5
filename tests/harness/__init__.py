"""What the tests stand on: databases, clock, tokens, a running service."""
