"""What is remembered, on SQLite and PostgreSQL; operations only, the rules are in `challenges`."""
