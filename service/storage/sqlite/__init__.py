"""SQLite: one connection, one thread, shared transactions; no statement of its own."""
