"""Orders that the shop's back end places for its customers (docs/decisions/0027)."""
