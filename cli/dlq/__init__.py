"""`ordersaga dlq`: what a consumer of ours has refused, and what became of it."""
