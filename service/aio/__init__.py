"""What asyncio lacks; knows nothing of challenges."""
