"""What an operator or a developer types; nothing that a serving process needs."""
