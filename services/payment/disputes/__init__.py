"""Disputes of payments, as Stripe has them. They are answered in Stripe's dashboard. Knows the room of payments."""
