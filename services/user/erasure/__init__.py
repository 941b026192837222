"""Erasing a person: their account at once, and what other services know of them soon."""
