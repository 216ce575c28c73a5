"""What asyncio and aiohttp lack; knows nothing of challenges."""
