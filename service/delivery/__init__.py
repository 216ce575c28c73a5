"""Send, and what is owed from its claim until the payer has the code; no provider's own API."""
