"""Stripe's rules: pure functions that say what a command changes, or refuse it."""
