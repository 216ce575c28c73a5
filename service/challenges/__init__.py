"""What a session's row allows, and who may change it; no asyncio in the rules, no SQL."""
