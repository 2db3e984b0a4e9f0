"""The engine on one card: exact, how near to what the card can do, and beside `generate`."""
