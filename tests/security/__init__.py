"""Rules of the standards that no other suite holds; docs/security.md lists them all."""
