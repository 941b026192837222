"""Processes that serve nobody: the order worker and the outbox relay."""
