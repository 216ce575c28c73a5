"""What an operator or a developer types; nothing that serving needs is here."""
