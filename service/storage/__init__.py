"""What is remembered, on any database; operations only, the rules are in `challenges`."""
