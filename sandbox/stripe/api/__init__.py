"""The API's calls: who makes them, what they ask for, their idempotency keys, their answers."""
