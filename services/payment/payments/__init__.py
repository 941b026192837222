"""Payments, each with all that belongs to it: its one intent, attempts, refunds and disputes. Knows Stripe's room."""
