"""Challenges of hosted payment sessions: issue, send, verify."""
