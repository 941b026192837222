"""Temporal workflows: pure, tiny, and importing nothing of ours but `domain`."""
