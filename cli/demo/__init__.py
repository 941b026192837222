"""`make demo`: real orders through the whole embedded stack, and an audit of what became of them."""
