"""A double of the part of Stripe that an order backend uses, with Stripe's own rules.

The official SDKs drive it unchanged, given its address as the API base. Amounts are integers in the currency's
smallest unit as Stripe counts it, times are unix seconds.
"""
