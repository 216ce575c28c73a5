"""What happened in a session, so kept that any later change shows; no rule of payments is here."""
