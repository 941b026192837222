"""Stripe's API behind typed methods and values. This room knows no other; the SDK's objects do not leave it."""
