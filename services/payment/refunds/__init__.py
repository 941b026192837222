"""Refunds: asked for, due because a payment was voided, or made at Stripe's side. Knows payments and disputes."""
