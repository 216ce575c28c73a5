"""Send, and what is owed until a provider has taken the code or it is given up; no provider API."""
