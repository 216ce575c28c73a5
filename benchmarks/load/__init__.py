"""Who measures: a process that makes the calls."""
