"""The pure core: values and rules. No input or output, clock, randomness, logging or asyncio."""
