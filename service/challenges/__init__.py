"""What a session's row allows, and what changes it; no SQL, and no asyncio in the rules."""
