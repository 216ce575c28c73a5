"""SQLite: one connection, one thread, shared transactions; no statement on sessions."""
