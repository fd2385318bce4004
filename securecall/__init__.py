"""End-to-end encrypted and authenticated calls for asyncio applications."""
