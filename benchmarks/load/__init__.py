"""The load process, which makes the calls."""
