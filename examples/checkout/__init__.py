"""An example checkout: a shop's page and its backend, on the challenge service."""
