"""Rate limits at the gateway: who may ask how often (docs/decisions/0025)."""
