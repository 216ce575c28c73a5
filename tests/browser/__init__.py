"""The example checkout in a real browser, against the real service behind the real proxy."""
