"""Inventory: the only master of stock and reservations."""
