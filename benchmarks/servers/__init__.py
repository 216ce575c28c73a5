"""What is measured: one process each."""
