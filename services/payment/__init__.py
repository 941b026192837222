"""Payment: the order's one payment at Stripe, its refund, and the inbox of Stripe's events."""
