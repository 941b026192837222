"""Stripe's events: taken in by webhook and by a sweep, stored, and processed. Knows every other room."""
